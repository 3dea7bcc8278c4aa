// SPDX-License-Identifier: Apache-2.0
// The fence in PostgreSQL is one statement, the first in the transaction that writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#ifdef REDLOCK_HAS_LIBPQ

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <redlock/fencing.hpp>

#include "support/eventually.hpp"
#include "support/postgres_server.hpp"

namespace redlock::test {
namespace {

using ::testing::ElementsAre;

constexpr std::uint64_t any_day = 1'795'000'000'000'123;

bool admits(PostgresSession& session, const std::string& resource, std::uint64_t token) {
    return !session.run(postgres_fence, {resource, std::to_string(token)}).empty();
}

/// The SQLSTATE of the exception that `action` throws; empty if it throws none.
template <class Action>
std::string sqlstate_of(Action action) {
    try {
        action();
    } catch (const PostgresError& error) {
        return error.state();
    }
    return "";
}

class FencedPostgres : public ::testing::Test {
   protected:
    static void SetUpTestSuite() {
        if (PostgresServer::objection()) return;
        server = new PostgresServer;
        PostgresSession session{*server};
        session.run(postgres_fence_table);
        session.run(postgres_fence_table);  // the table may exist already
    }
    static void TearDownTestSuite() {
        delete server;
        server = nullptr;
    }
    void SetUp() override {
        if (const auto objection = PostgresServer::objection()) {
            if (std::getenv("CI") != nullptr) FAIL() << *objection;
            GTEST_SKIP() << *objection;
        }
        resource = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    }

    static std::vector<std::string> remembered(PostgresSession& session, const std::string& name) {
        return session.run("SELECT token FROM redlock_fence WHERE resource = $1", {name});
    }
    static void send_fence(PostgresSession& session, const std::string& name, std::uint64_t token) {
        session.send(postgres_fence, {name, std::to_string(token)});
    }
    /// Waits until the session waits for another session's transaction.
    static bool comes_to_wait(const PostgresSession& session) {
        PostgresSession witness{*server};
        return eventually(patience, [&] {
            return !witness
                        .run(
                            "SELECT 1 FROM pg_stat_activity WHERE pid = $1::int AND wait_event_type = 'Lock'",
                            {std::to_string(session.backend())})
                        .empty();
        });
    }

    static PostgresServer* server;
    std::string resource;
};

PostgresServer* FencedPostgres::server = nullptr;

TEST_F(FencedPostgres, admits_the_largest_again_and_refuses_what_is_lower_by_one) {
    PostgresSession session{*server};
    EXPECT_TRUE(admits(session, resource, any_day));
    EXPECT_TRUE(admits(session, resource, any_day));
    EXPECT_FALSE(admits(session, resource, any_day - 1));
    EXPECT_THAT(remembered(session, resource), ElementsAre(std::to_string(any_day)));
    EXPECT_TRUE(admits(session, resource, any_day + 1));
    EXPECT_FALSE(admits(session, resource, any_day));
    EXPECT_TRUE(admits(session, resource + " of another", 1));
    EXPECT_TRUE(admits(session, resource, fencing_token_max));
    EXPECT_FALSE(admits(session, resource, fencing_token_max - 1));
}

TEST_F(FencedPostgres, what_is_no_token_is_an_error_and_notes_nothing) {
    PostgresSession session{*server};
    constexpr const char* check_violation = "23514";
    for (const std::uint64_t token : {std::uint64_t{0}, fencing_token_max + 1}) {
        EXPECT_EQ(sqlstate_of([&] { admits(session, resource, token); }), check_violation) << token;
    }
    EXPECT_THAT(remembered(session, resource), ElementsAre()) << "it would keep all others out";
    EXPECT_TRUE(admits(session, resource, 1));
    EXPECT_EQ(sqlstate_of([&] { admits(session, resource, fencing_token_max + 1); }), check_violation);
    EXPECT_THAT(remembered(session, resource), ElementsAre("1"));
}

TEST_F(FencedPostgres, a_transaction_that_is_undone_leaves_no_token) {
    PostgresSession session{*server};
    EXPECT_TRUE(admits(session, resource, any_day));
    session.run("BEGIN");
    EXPECT_TRUE(admits(session, resource, any_day + 5));
    session.run("ROLLBACK");
    EXPECT_TRUE(admits(session, resource, any_day + 1));
}

// As docs/fencing.md says of names: such a name is an error, so no resource is written without a fence.
TEST_F(FencedPostgres, a_name_that_PostgreSQL_cannot_keep_is_an_error) {
    PostgresSession session{*server};
    constexpr const char* not_in_repertoire = "22021";
    constexpr const char* limit_exceeded = "54000";
    EXPECT_EQ(sqlstate_of([&] { admits(session, "caf\xe9", any_day); }), not_in_repertoire);
    std::string name;  // without repetition, so that PostgreSQL cannot compress it
    for (std::uint64_t i = 0; name.size() < 5'000; ++i) {
        name += std::to_string(i * i * 0x9E3779B97F4A7C15U);
    }
    EXPECT_EQ(sqlstate_of([&] { admits(session, name, any_day); }), limit_exceeded);
    name.resize(2'600);
    EXPECT_TRUE(admits(session, name, any_day));
    EXPECT_FALSE(admits(session, name, any_day - 1));
}

// IF NOT EXISTS alone checks before it waits for the other session's transaction.
TEST_F(FencedPostgres, two_may_make_the_table_at_once) {
    PostgresSession first{*server};
    PostgresSession second{*server};
    first.run("CREATE SCHEMA made_at_once");
    first.run("SET search_path TO made_at_once");
    second.run("SET search_path TO made_at_once");
    first.run("BEGIN");
    first.run(postgres_fence_table);
    second.send(postgres_fence_table);
    EXPECT_TRUE(comes_to_wait(second));
    first.run("COMMIT");
    EXPECT_EQ(sqlstate_of([&] { second.rows(); }), "");
    EXPECT_TRUE(admits(second, resource, any_day));
    EXPECT_TRUE(admits(first, resource, any_day));
}

// --- whatever the isolation level --------------------------------------------------------------------------

/// At READ COMMITTED, a late writer gets no row. At higher levels, PostgreSQL ends a transaction that
/// conflicts with another one's commit with 40001; it is run again as a whole, and then gets no row.
class FencedPostgresAt : public FencedPostgres, public ::testing::WithParamInterface<const char*> {
   protected:
    static constexpr const char* serialization_failure = "40001";

    static void begin(PostgresSession& session) {
        session.run(std::string{"BEGIN ISOLATION LEVEL "} + GetParam());
    }
    [[nodiscard]] static bool is_read_committed() { return GetParam() == std::string_view{"READ COMMITTED"}; }

    /// Whether the fence that was sent within a transaction admits the token; after a serialization failure,
    /// asks again in a second transaction.
    bool is_admitted(PostgresSession& session, const std::string& name, std::uint64_t token) const {
        std::optional<bool> is_in;
        const std::string state = sqlstate_of([&] { is_in = !session.rows().empty(); });
        EXPECT_EQ(state, is_read_committed() ? "" : serialization_failure);
        if (!is_in) {
            session.run("ROLLBACK");
            begin(session);
            is_in = admits(session, name, token);
        }
        session.run(*is_in ? "COMMIT" : "ROLLBACK");
        return *is_in;
    }
};

TEST_P(FencedPostgresAt, admits_and_refuses_in_sequence) {
    PostgresSession session{*server};
    const auto is_in = [&](std::uint64_t token) {
        begin(session);
        const bool is_admitted = admits(session, resource, token);
        session.run(is_admitted ? "COMMIT" : "ROLLBACK");
        return is_admitted;
    };
    EXPECT_TRUE(is_in(any_day));
    EXPECT_TRUE(is_in(any_day));
    EXPECT_FALSE(is_in(any_day - 1));
    EXPECT_TRUE(is_in(any_day + 1));
}

// Check and write are one step: the second writer waits for the first one's commit, and then sees its token.
TEST_P(FencedPostgresAt, a_late_writer_waits_for_the_transaction_of_the_newer_and_is_refused) {
    for (const bool is_first_token : {true, false}) {
        const std::string name = resource + (is_first_token ? ", first" : ", second");
        PostgresSession newer{*server};
        PostgresSession late{*server};
        ASSERT_TRUE(is_first_token || admits(newer, name, any_day));
        begin(newer);
        ASSERT_TRUE(admits(newer, name, any_day + 2));
        begin(late);
        send_fence(late, name, any_day + 1);
        EXPECT_TRUE(comes_to_wait(late));
        newer.run("COMMIT");
        EXPECT_FALSE(is_admitted(late, name, any_day + 1));
        EXPECT_THAT(remembered(newer, name), ElementsAre(std::to_string(any_day + 2)));
    }
}

TEST_P(FencedPostgresAt, a_newer_writer_waits_for_the_transaction_of_the_earlier_and_goes_on) {
    for (const bool is_first_token : {true, false}) {
        const std::string name = resource + (is_first_token ? ", first" : ", second");
        PostgresSession earlier{*server};
        PostgresSession newer{*server};
        ASSERT_TRUE(is_first_token || admits(earlier, name, any_day));
        begin(earlier);
        ASSERT_TRUE(admits(earlier, name, any_day + 1));
        begin(newer);
        send_fence(newer, name, any_day + 2);
        EXPECT_TRUE(comes_to_wait(newer));
        earlier.run("COMMIT");
        EXPECT_TRUE(is_admitted(newer, name, any_day + 2));
        EXPECT_THAT(remembered(earlier, name), ElementsAre(std::to_string(any_day + 2)));
    }
}

// A transaction that has read before the fence sees an old snapshot, and must not write over newer data.
TEST_P(FencedPostgresAt, what_was_read_before_the_fence_makes_no_late_write) {
    PostgresSession newer{*server};
    PostgresSession late{*server};
    ASSERT_TRUE(admits(newer, resource, any_day));
    begin(late);
    ASSERT_THAT(remembered(late, resource), ElementsAre(std::to_string(any_day)));
    ASSERT_TRUE(admits(newer, resource, any_day + 2));
    send_fence(late, resource, any_day + 1);
    EXPECT_FALSE(is_admitted(late, resource, any_day + 1));
}

TEST_P(FencedPostgresAt, of_many_writers_at_once_none_goes_back) {
    constexpr std::uint64_t writers = 4;
    constexpr std::uint64_t writes = 40;
    PostgresSession{*server}.run(
        "CREATE TABLE IF NOT EXISTS written (at bigserial PRIMARY KEY, resource text, token bigint)");
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t writer = 0; writer < writers; ++writer) {
            threads.emplace_back([this, writer] {
                PostgresSession session{*server};
                const auto write = [&](std::uint64_t token) {
                    begin(session);
                    if (admits(session, resource, token)) {
                        session.run("INSERT INTO written (resource, token) VALUES ($1, $2)",
                                    {resource, std::to_string(token)});
                    }
                    session.run("COMMIT");
                };
                for (std::uint64_t i = 0; i < writes; ++i) {
                    const std::uint64_t token = any_day + i * writers + writer;
                    while (sqlstate_of([&] { write(token); }) == serialization_failure)
                        session.run("ROLLBACK");
                }
            });
        }
    }
    PostgresSession session{*server};
    std::uint64_t last = 0;
    for (const auto& token :
         session.run("SELECT token FROM written WHERE resource = $1 ORDER BY at", {resource})) {
        EXPECT_GT(std::stoull(token), last);
        last = std::stoull(token);
    }
    EXPECT_EQ(last, any_day + writers * writes - 1);
}

INSTANTIATE_TEST_SUITE_P(Isolation, FencedPostgresAt,
                         ::testing::Values("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"),
                         [](const auto& level) {
                             std::string name{level.param};
                             std::replace(name.begin(), name.end(), ' ', '_');
                             return name;
                         });

}  // namespace
}  // namespace redlock::test

#else

TEST(FencedPostgres, needs_libpq) {
    constexpr const char* why = "built without libpq: install libpq-dev";
    if (std::getenv("CI") != nullptr) FAIL() << why;
    GTEST_SKIP() << why;
}

#endif
