// SPDX-License-Identifier: Apache-2.0
// Handing a lock over, also to another process: at no moment is there no holder, or more than one.
#include "redlock/handoff.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "integration/holding_nodes.hpp"
#include "support/child_process.hpp"
#include "support/delay_proxy.hpp"

namespace redlock::test {
namespace {

constexpr const char* peer_directory = "REDLOCK_TEST_PEER";

std::string read_all(const std::string& path) {
    std::ifstream file{path};
    return {std::istreambuf_iterator<char>{file}, {}};
}

// Writes a file that other processes see as a whole, or not at all.
void write_whole(const std::string& path, const std::string& text) {
    std::ofstream{path + ".part"} << text;
    std::filesystem::rename(path + ".part", path);
}

// The other process runs this same program, and finds its task in a directory that the environment names. It
// adopts the lock, reports the result, extends the lock, and unlocks it when the test asks for that.
class Peer : public testing::Environment {
   public:
    void SetUp() override {
        const char* directory = std::getenv(peer_directory);
        if (directory != nullptr) std::_Exit(hold(std::string{directory} + "/") ? 0 : 1);
    }

   private:
    static bool hold(const std::string& directory) {
        std::istringstream uris{read_all(directory + "uris")};
        const std::vector<std::string> nodes{std::istream_iterator<std::string>{uris}, {}};
        Redlock locks{nodes, holding_options()};
        auto lock = locks.adopt(Handoff::parse(read_all(directory + "handoff")), 2s);
        if (!lock) {
            write_whole(directory + "adopted", lock.error().message());
            return false;
        }
        write_whole(directory + "adopted", "fence " + std::to_string(lock->fencing_token()));
        const bool was_told = eventually(patience, [&] {
            if (lock->remaining() < 1500ms) lock->extend(2s).value();
            return std::filesystem::exists(directory + "unlock");
        });
        return was_told && lock->owns_lock() && lock->unlock();
    }
};

[[maybe_unused]] const auto* const peer = testing::AddGlobalTestEnvironment(new Peer);

// Starts the other process and talks to it.
class PeerProcess {
   public:
    PeerProcess(const std::vector<std::string>& uris, const std::string& handoff) {
        std::string list;
        for (const auto& uri : uris) list += uri + "\n";
        write_whole(file("uris"), list);
        write_whole(file("handoff"), handoff);
        const auto self = std::filesystem::read_symlink("/proc/self/exe").string();
        const auto variable = std::string{peer_directory} + "=" + directory_.path().string();
        process_.start({{*find_executable("env"), variable, self}, {}, file("output")});
    }

    // Waits for the result of the adoption, and returns it.
    [[nodiscard]] std::string adopted() const {
        const bool has_answered =
            eventually(patience, [this] { return std::filesystem::exists(file("adopted")); });
        return has_answered ? read_all(file("adopted")) : "no answer: " + read_all(file("output"));
    }
    // Lets it unlock. Returns whether it held the lock until then and has released it.
    [[nodiscard]] bool unlock() {
        write_whole(file("unlock"), "now");
        return eventually(patience, [this] { return !process_.running(); }) && process_.status() == 0;
    }

   private:
    [[nodiscard]] std::string file(const char* name) const { return directory_.file(name); }

    TemporaryDirectory directory_;
    ChildProcess process_;
};

TEST(HandoffTest, Another_process_goes_on_holding_and_nobody_gets_in_between) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 10s, .renew = true});
    Contender contender{nodes.cluster.uris(), "name", [] { return true; }};
    const Handoff handoff = lock.detach();
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_GT(handoff.remaining, 5s);
    PeerProcess other{nodes.cluster.uris(), handoff.str()};
    EXPECT_EQ(other.adopted(), "fence " + std::to_string(handoff.fencing_tokens.at(0)));
    // This lasts well beyond the ttl that it adopted with, so it has extended the lock.
    EXPECT_TRUE(never_within(2500ms, [&] { return contender.is_in(); }));
    EXPECT_GT(contender.attempts(), 100U);
    for (const auto& value : nodes.cluster.values("name")) EXPECT_EQ(value, handoff.token.str());
    EXPECT_TRUE(other.unlock());
    EXPECT_TRUE(eventually(patience, [&] { return contender.is_in(); }));
    EXPECT_GT(contender.fencing_token(), handoff.fencing_tokens.at(0));
}

TEST(HandoffTest, Another_process_is_told_that_the_lock_is_gone) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 10s});
    const auto text = lock.detach().str();
    for (auto& node : nodes.cluster) node.query({"DEL", "name"});
    const PeerProcess other{nodes.cluster.uris(), text};
    EXPECT_TRUE(other.adopted().starts_with("lost")) << other.adopted();
    EXPECT_TRUE(nodes.cluster.keys_left().empty());
}

TEST(HandoffTest, Detach_stops_renewal_and_unlocks_nothing) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 500ms, .renew = true});
    const Handoff handoff = lock.detach();
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_EQ(lock.unlock().error(), errc::lost);
    EXPECT_EQ(lock.detach().resources.size(), 0U);
    EXPECT_EQ(nodes.cluster.count_holding("name"), 3U);
    EXPECT_TRUE(eventually(patience, [&] { return nodes.cluster.keys_left().empty(); }));
    EXPECT_EQ(nodes.locks.adopt(handoff, 10s).error(), errc::lost);
}

// A renewal that is still in transit at the hand-over must not shorten the next holder's ttl.
TEST(HandoffTest, A_renewal_still_under_way_does_not_cut_the_next_holder_short) {
    Cluster cluster{3};
    DelayProxy proxy{cluster.uris(), 0ms};
    Redlock far{proxy.uris(), holding_options()};
    Redlock near{cluster.uris(), holding_options()};
    auto lock = far.try_lock("name", 5s).value();
    ASSERT_TRUE(lock.extend(5s));
    for (std::size_t i = 0; i < 3; ++i) proxy.hang(i, Direction::to_node);
    EXPECT_EQ(lock.extend(5s).error(), errc::unknown);
    auto adopted = near.adopt(lock.detach(), 30s);
    ASSERT_TRUE(adopted);
    for (std::size_t i = 0; i < 3; ++i) proxy.resume(i);
    const auto quorum_ends_early = [&] {
        std::size_t early = 0;
        for (auto& node : cluster) early += node.pttl("name").value_or(0ms) < adopted->remaining() ? 1 : 0;
        return early >= 2;
    };
    EXPECT_TRUE(never_within(300ms, quorum_ends_early));
}

TEST(HandoffTest, Several_resources_are_handed_over_as_one) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock({"a", "b"}, 10s).value();
    const auto fence_b = lock.fencing_token("b");
    const auto handoff = Handoff::parse(lock.detach().str());
    auto adopted = nodes.locks.adopt(handoff, 10s).value();
    EXPECT_EQ(adopted.resources().size(), 2U);
    EXPECT_EQ(adopted.fencing_token("b"), fence_b);
    EXPECT_EQ(nodes.locks.try_lock("b", 1s).error(), errc::contended);
    EXPECT_TRUE(adopted.extend(10s));
    EXPECT_TRUE(adopted.unlock());
    EXPECT_TRUE(eventually(patience, [&] { return nodes.cluster.keys_left().empty(); }));
}

TEST(HandoffTest, An_adopted_lock_is_watched_as_any_other) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", 10s).value();
    auto adopted = nodes.locks.adopt(lock.detach(), 300ms).value();
    EXPECT_LE(adopted.remaining(), 300ms);
    const auto lost = adopted.lost();
    EXPECT_TRUE(eventually(patience, [&] { return lost.stop_requested(); }));
    EXPECT_FALSE(adopted.owns_lock());
}

TEST(HandoffTest, A_wrong_token_is_lost_and_disturbs_nobody) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 10s});
    const auto wrong = Token::parse("0123456789012345678901234567890123456789");
    Handoff handoff{{"name"}, wrong, {lock.fencing_token() + 1}, 10s};
    EXPECT_EQ(nodes.locks.adopt(handoff, 60s).error(), errc::lost);
    EXPECT_EQ(nodes.locks.adopt("name", wrong, 60s).error(), errc::lost);
    EXPECT_EQ(nodes.locks.adopt("never locked", lock.token(), 60s).error(), errc::lost);
    for (const auto& value : nodes.cluster.values("name")) EXPECT_EQ(value, lock.token().str());
    for (auto& node : nodes.cluster) EXPECT_LE(node.pttl("name"), 10s);
    EXPECT_TRUE(lock.extend(10s));
}

TEST(HandoffTest, With_too_few_nodes_it_is_unknown) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 60s});
    const Handoff handoff = lock.detach();
    nodes.cluster.pause_first(2);
    EXPECT_EQ(nodes.locks.adopt(handoff, 60s).error(), errc::unknown);
    nodes.cluster.resume_all();
    auto adopted = nodes.locks.adopt(handoff, 60s).value();
    EXPECT_EQ(adopted.fencing_token(), lock.fencing_token());

    const Token token = adopted.detach().token;
    nodes.cluster.pause_first(2);
    EXPECT_EQ(nodes.locks.adopt("name", token, 60s).error(), errc::unknown);
    nodes.cluster.resume_all();
    EXPECT_GT(nodes.locks.adopt("name", token, 60s).value().fencing_token(), lock.fencing_token());
}

TEST(HandoffTest, What_is_adopted_may_be_renewed) {
    Nodes nodes{3};
    const Handoff handoff = nodes.hold_everywhere({.ttl = 500ms}).detach();
    auto adopted = nodes.locks.adopt(handoff, {.ttl = 500ms, .renew = true}).value();
    const auto is_lost = [&] { return !adopted.owns_lock(); };
    EXPECT_TRUE(never_within(1500ms, is_lost));
    EXPECT_TRUE(adopted.unlock());
}

TEST(HandoffTest, So_is_what_is_adopted_by_the_token_alone) {
    Nodes nodes{3};
    const Token token = nodes.hold_everywhere({.ttl = 500ms}).detach().token;
    auto adopted = nodes.locks.adopt("name", token, {.ttl = 500ms, .renew = true}).value();
    const auto is_lost = [&] { return !adopted.owns_lock(); };
    EXPECT_TRUE(never_within(1500ms, is_lost));
    EXPECT_TRUE(adopted.unlock());
}

TEST(HandoffTest, By_the_token_alone_there_is_a_larger_fencing_token) {
    Nodes nodes{3};
    auto lock = nodes.hold_everywhere({.ttl = 60s});
    const auto fence = lock.fencing_token();
    const Token token = lock.detach().token;
    auto adopted = nodes.locks.adopt("name", token, 60s).value();
    EXPECT_GT(adopted.fencing_token(), fence);
    EXPECT_EQ(adopted.token(), token);
    EXPECT_TRUE(adopted.extend(60s));
    const auto taken = adopted.fencing_token();
    EXPECT_TRUE(adopted.unlock());
    EXPECT_GT(nodes.locks.lock("name", {.ttl = 10s, .wait = 10s}).value().fencing_token(), taken);
}

// A key that a client without fencing has set, as other Redlock clients do.
TEST(HandoffTest, A_foreign_clients_lock_is_adopted_by_its_token) {
    Nodes nodes{3};
    for (auto& node : nodes.cluster) node.query({"SET", "name", "their-token", "NX", "PX", "60000"});
    auto adopted = nodes.locks.adopt("name", Token::parse("their-token"), 10s).value();
    EXPECT_TRUE(adopted.owns_lock());
    EXPECT_TRUE(adopted.unlock());
    EXPECT_TRUE(eventually(patience, [&] { return nodes.cluster.keys_left().empty(); }));
}

TEST(HandoffTest, Without_fencing_it_is_handed_over_as_well) {
    Cluster cluster{3};
    Options plain = holding_options();
    plain.fencing = false;
    Redlock locks{cluster.uris(), plain};
    auto lock = locks.try_lock("name", 10s).value();
    const auto handoff = Handoff::parse(lock.detach().str());
    EXPECT_TRUE(handoff.fencing_tokens.empty());
    auto adopted = locks.adopt(handoff, 10s).value();
    EXPECT_EQ(adopted.fencing_token(), 0U);
    EXPECT_TRUE(adopted.unlock());
}

TEST(HandoffTest, What_can_never_work_is_an_error) {
    Nodes nodes{3};
    auto lock = nodes.locks.try_lock("name", 10s).value();
    const Handoff handoff = lock.detach();
    Handoff without_token{handoff.resources, {}, {}, 0ms};
    Handoff too_many_fences{handoff.resources, handoff.token, {1, 2}, 0ms};
    EXPECT_EQ(nodes.locks.adopt(Handoff{}, 10s).error(), errc::invalid_argument);
    EXPECT_EQ(nodes.locks.adopt(without_token, 10s).error(), errc::invalid_argument);
    EXPECT_EQ(nodes.locks.adopt(too_many_fences, 10s).error(), errc::invalid_argument);
    EXPECT_EQ(nodes.locks.adopt(handoff, 0ms).error(), errc::invalid_argument);
    EXPECT_EQ(nodes.locks.adopt(handoff, 1ms).error(), errc::invalid_argument);
}

}  // namespace
}  // namespace redlock::test
