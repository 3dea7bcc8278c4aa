// SPDX-License-Identifier: Apache-2.0
// The fence in PostgreSQL: one statement, first in the transaction that writes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef REDLOCK_HAS_LIBPQ

#include <libpq-fe.h>

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <redlock/fencing.hpp>

#include "support/child_process.hpp"
#include "support/eventually.hpp"
#include "support/posix.hpp"

namespace redlock::test {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t any_day = 1'795'000'000'000'123;

/// One of PostgreSQL's programs, in PATH or where Debian keeps them.
std::optional<std::string> find_postgres(const std::string& program) {
    if (auto found = find_executable(program)) return std::filesystem::canonical(*found).string();
    std::error_code none;
    for (const auto& version : std::filesystem::directory_iterator{"/usr/lib/postgresql", none}) {
        if (auto found = find_executable((version.path() / "bin" / program).string())) return found;
    }
    return std::nullopt;
}

/// A private cluster on a unix socket. PostgreSQL refuses to run as root, so there it runs as another.
class PostgresServer {
   public:
    /// Why there cannot be one here; nothing if there can.
    static std::optional<std::string> objection() {
        if (!find_postgres("postgres") || !find_postgres("initdb")) return "PostgreSQL is not installed";
        if (::geteuid() == 0 && !find_executable("setpriv")) return "we are root, and there is no setpriv";
        if (::geteuid() == 0 && user() == nullptr) return "we are root, and there is nobody else";
        return std::nullopt;
    }

    PostgresServer() {
        if (::geteuid() == 0 && ::chown(directory_.path().c_str(), user()->pw_uid, user()->pw_gid) != 0) {
            throw_errno("chown");
        }
        const std::string data = directory_.file("data");
        ChildProcess initdb{command({*find_postgres("initdb"), "--pgdata", data, "--auth=trust",
                                     "--username=tester", "--no-sync", "--locale=C"})};
        if (!eventually(patience, [&] { return !initdb.running(); }) || initdb.status() != 0) {
            throw std::runtime_error{"initdb failed"};
        }
        server_.start(command({*find_postgres("postgres"), "-D", data, "-k", directory_.path().string(), "-c",
                               "listen_addresses=", "-c", "fsync=off"}));
        if (!eventually(patience, [&] { return PQping(where().c_str()) == PQPING_OK; })) {
            throw std::runtime_error{"PostgreSQL is not ready in time"};
        }
    }
    PostgresServer(const PostgresServer&) = delete;
    PostgresServer& operator=(const PostgresServer&) = delete;
    ~PostgresServer() { server_.terminate(std::chrono::seconds{5}); }

    [[nodiscard]] std::string where() const {
        return "host=" + directory_.path().string() + " user=tester dbname=postgres connect_timeout=5";
    }

   private:
    static const passwd* user() {
        const passwd* found = ::getpwnam("postgres");
        return found != nullptr ? found : ::getpwnam("nobody");
    }
    [[nodiscard]] Command command(std::vector<std::string> words) const {
        Command made{{}, directory_.path().string(), {}};
        if (::geteuid() == 0) {
            made.arguments = {*find_executable("setpriv"),
                              "--reuid=" + std::to_string(user()->pw_uid),
                              "--regid=" + std::to_string(user()->pw_gid),
                              "--clear-groups",
                              "--pdeathsig=KILL",
                              "--"};
        }
        made.arguments.insert(made.arguments.end(), words.begin(), words.end());
        return made;
    }

    TemporaryDirectory directory_;
    ChildProcess server_;
};

/// One connection.
class Session {
   public:
    explicit Session(const PostgresServer& server) : connection_{PQconnectdb(server.where().c_str())} {
        if (PQstatus(connection_.get()) != CONNECTION_OK) throw std::runtime_error{error()};
    }

    /// The rows' first column.
    std::vector<std::string> run(const char* statement, const std::vector<std::string>& arguments = {}) {
        send(statement, arguments);
        return rows();
    }
    void send(const char* statement, const std::vector<std::string>& arguments = {}) {
        std::vector<const char*> values;
        for (const std::string& argument : arguments) values.push_back(argument.c_str());
        if (PQsendQueryParams(connection_.get(), statement, static_cast<int>(values.size()), nullptr,
                              values.data(), nullptr, nullptr, 0) != 1) {
            throw std::runtime_error{error()};
        }
    }
    std::vector<std::string> rows() {
        std::vector<std::string> all;
        while (const std::unique_ptr<PGresult, Clear> result{PQgetResult(connection_.get())}) {
            const auto status = PQresultStatus(result.get());
            if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) throw std::runtime_error{error()};
            for (int row = 0; row < PQntuples(result.get()); ++row) {
                all.emplace_back(PQgetvalue(result.get(), row, 0));
            }
        }
        return all;
    }
    /// The statement as the library ships it.
    bool admits(const std::string& resource, std::uint64_t token) {
        return !run(std::string{postgres_fence}.c_str(), {resource, std::to_string(token)}).empty();
    }
    void send_fence(const std::string& resource, std::uint64_t token) {
        send(std::string{postgres_fence}.c_str(), {resource, std::to_string(token)});
    }
    [[nodiscard]] int backend() const { return PQbackendPID(connection_.get()); }

   private:
    struct Finish {
        void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    };
    struct Clear {
        void operator()(PGresult* result) const noexcept { PQclear(result); }
    };
    [[nodiscard]] std::string error() const { return PQerrorMessage(connection_.get()); }

    std::unique_ptr<PGconn, Finish> connection_;
};

class FencedPostgres : public ::testing::Test {
   protected:
    static void SetUpTestSuite() {
        if (PostgresServer::objection()) return;
        server = new PostgresServer;
        Session session{*server};
        const std::string table{postgres_fence_table};
        session.run(table.c_str());
        session.run(table.c_str());  // may be there already
    }
    static void TearDownTestSuite() {
        delete server;
        server = nullptr;
    }
    void SetUp() override {
        if (const auto objection = PostgresServer::objection()) GTEST_SKIP() << *objection;
        resource = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    }
    std::vector<std::string> remembered(Session& session) const {
        return session.run("SELECT token FROM redlock_fence WHERE resource = $1", {resource});
    }

    static PostgresServer* server;
    std::string resource;
};

PostgresServer* FencedPostgres::server = nullptr;

TEST_F(FencedPostgres, admits_the_largest_again_and_refuses_what_is_lower_by_one) {
    Session session{*server};
    EXPECT_TRUE(session.admits(resource, any_day));
    EXPECT_TRUE(session.admits(resource, any_day));
    EXPECT_FALSE(session.admits(resource, any_day - 1));
    EXPECT_THAT(remembered(session), ::testing::ElementsAre(std::to_string(any_day)));
    EXPECT_TRUE(session.admits(resource, any_day + 1));
    EXPECT_FALSE(session.admits(resource, any_day));
    EXPECT_TRUE(session.admits(resource + " of another", 1));
    EXPECT_TRUE(session.admits(resource, 9'007'199'254'740'993)) << "2^53 + 1";
    EXPECT_FALSE(session.admits(resource, 9'007'199'254'740'992));
}

TEST_F(FencedPostgres, a_transaction_that_is_undone_leaves_no_token) {
    Session session{*server};
    EXPECT_TRUE(session.admits(resource, any_day));
    session.run("BEGIN");
    EXPECT_TRUE(session.admits(resource, any_day + 5));
    session.run("ROLLBACK");
    EXPECT_TRUE(session.admits(resource, any_day + 1));
}

// Check and write are one step: whoever comes second waits for the first's commit, and then sees its token.
TEST_F(FencedPostgres, a_late_writer_waits_for_the_transaction_of_the_newer_and_is_refused) {
    Session newer{*server};
    Session late{*server};
    Session witness{*server};
    ASSERT_TRUE(newer.admits(resource, any_day));
    newer.run("BEGIN");
    ASSERT_TRUE(newer.admits(resource, any_day + 2));
    late.send_fence(resource, any_day + 1);
    const auto is_waiting = [&] {
        return !witness
                    .run("SELECT 1 FROM pg_stat_activity WHERE pid = $1::int AND wait_event_type = 'Lock'",
                         {std::to_string(late.backend())})
                    .empty();
    };
    EXPECT_TRUE(eventually(patience, is_waiting));
    newer.run("COMMIT");
    EXPECT_TRUE(late.rows().empty()) << "refused";
    EXPECT_THAT(remembered(witness), ::testing::ElementsAre(std::to_string(any_day + 2)));
}

TEST_F(FencedPostgres, of_many_writers_at_once_none_goes_back) {
    constexpr std::uint64_t writers = 4;
    constexpr std::uint64_t writes = 60;
    Session{*server}.run("CREATE TABLE written (at bigserial PRIMARY KEY, token bigint NOT NULL)");
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t writer = 0; writer < writers; ++writer) {
            threads.emplace_back([this, writer] {
                Session session{*server};
                for (std::uint64_t i = 0; i < writes; ++i) {
                    const std::uint64_t token = any_day + i * writers + writer;
                    session.run("BEGIN");
                    if (session.admits(resource, token)) {
                        session.run("INSERT INTO written (token) VALUES ($1)", {std::to_string(token)});
                    }
                    session.run("COMMIT");
                }
            });
        }
    }
    Session session{*server};
    std::uint64_t last = 0;
    for (const std::string& token : session.run("SELECT token FROM written ORDER BY at")) {
        EXPECT_GT(std::stoull(token), last);
        last = std::stoull(token);
    }
    EXPECT_EQ(last, any_day + writers * writes - 1);
}

}  // namespace
}  // namespace redlock::test

#else

TEST(FencedPostgres, needs_libpq) { GTEST_SKIP() << "built without libpq: install libpq-dev"; }

#endif
