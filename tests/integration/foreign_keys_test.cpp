// SPDX-License-Identifier: Apache-2.0
// R30: keys whose form is not the library's are left as they are, and the report says so.
#include "integration/waiting_parts.hpp"
#include "redlock/inspect.hpp"

namespace redlock::test {
namespace {

namespace core = redlock::detail;
using Query = std::vector<std::string>;
using core::fence_key;
using core::queue_key;

// A value that an application may have stored at a key, and the commands that store it at "KEY".
struct Foreign {
    const char* what;
    std::vector<Query> made_by;
};

void put(RedisServer& node, const std::string& key, const Foreign& foreign) {
    node.query({"DEL", key});
    for (Query query : foreign.made_by) {
        std::replace(query.begin(), query.end(), std::string{"KEY"}, key);
        ASSERT_FALSE(node.query(query).is_error()) << foreign.what;
    }
}

// The whole value of a key, and whether it has a ttl.
std::string state_of(RedisServer& node, const std::string& key) {
    return node.query({"DUMP", key}).text + (node.query({"PTTL", key}).number() == -1 ? " stays" : " ends");
}

const std::string member = "redlock:0123456789abcdef0123456789abcdef01234567 ";
const std::string cut_member = "redlock:0123456789abcdef0123456789abcdef0123456 ";

const std::vector<Foreign>& foreign_queues() {
    static const Query ends{"PEXPIRE", "KEY", "3600000"};
    static const std::vector<Foreign> list{
        {"jobs", {{"ZADD", "KEY", "1", "job-1", "2", "job-2", "3", "job-3"}}},
        {"jobs that end", {{"ZADD", "KEY", "1", "job-1", "2", "job-2"}, ends}},
        {"jobs of two words", {{"ZADD", "KEY", "1", "job 1", "2", "redlock:1 2"}, ends}},
        {"almost a waiter", {{"ZADD", "KEY", "1", cut_member + "1", "2", member + "x"}, ends}},
        {"a number too many", {{"ZADD", "KEY", "1", member + "1 2"}, ends}},
        {"a queue that stays", {{"ZADD", "KEY", "1", member + "1"}}},
        {"a list", {{"RPUSH", "KEY", "a", "b"}}},
        {"a list that ends", {{"RPUSH", "KEY", "a", "b"}, ends}},
        {"a set that ends", {{"SADD", "KEY", "a"}, ends}},
        {"a hash that ends", {{"HSET", "KEY", "a", "b"}, ends}},
        {"a string", {{"SET", "KEY", "a"}}},
        {"a string that ends", {{"SET", "KEY", "a"}, ends}},
    };
    return list;
}

TEST(ForeignKeys, R30_a_release_pops_nothing_from_what_is_no_queue_of_ours) {
    Cluster cluster{1};
    auto locks = connect_to(cluster);
    for (const Foreign& foreign : foreign_queues()) {
        put(cluster[0], queue_key("name"), foreign);
        const std::string before = state_of(cluster[0], queue_key("name"));
        auto lock = locks.try_lock("name", 60s);
        ASSERT_TRUE(lock) << lock.error().message();
        const auto unlocked = lock->unlock();
        EXPECT_TRUE(unlocked) << foreign.what << ": " << unlocked.error().message();
        EXPECT_FALSE(cluster[0].get("name")) << foreign.what;
        EXPECT_EQ(state_of(cluster[0], queue_key("name")), before) << foreign.what;
    }
}

// A waiter without a subscriber is skipped, up to the first member that is not ours.
TEST(ForeignKeys, R30_a_release_pops_its_waiters_up_to_what_is_none) {
    Cluster cluster{1};
    auto locks = connect_to(cluster);
    RedisServer& node = cluster[0];
    auto lock = locks.try_lock("name", 60s).value();
    node.query({"ZADD", queue_key("name"), "1", member + "1", "2", member + "2", "3", "job", "4", "job-2"});
    node.query({"PEXPIRE", queue_key("name"), "3600000"});
    ASSERT_TRUE(lock.unlock());
    EXPECT_EQ(node.query({"ZCARD", queue_key("name")}).number(), 2);
    EXPECT_EQ(node.query({"ZRANGE", queue_key("name"), "0", "0"}).elements.at(0).text, "job");
}

TEST(ForeignKeys, R30_a_waiter_does_not_line_up_in_what_is_no_queue_of_ours) {
    Cluster cluster{1};
    auto locks = connect_to(cluster, soon_again());
    auto watching = connect_to(cluster, soon_again());
    RedisServer& node = cluster[0];
    for (const Foreign& foreign : foreign_queues()) {
        put(node, queue_key("name"), foreign);
        const std::string before = state_of(node, queue_key("name"));
        occupy(cluster, "name", 1h);
        const auto scripts_before = node.command_stat("evalsha") + node.command_stat("eval");
        auto waiting = wait_in_thread(locks, "name");
        ASSERT_TRUE(eventually(patience, [&] {
            return node.command_stat("evalsha") + node.command_stat("eval") > scripts_before + 4;
        })) << "it polls, and tries to line up";
        vacate(cluster, "name");
        ASSERT_TRUE(is_soon_over(waiting)) << foreign.what;
        auto lock = waiting.get();
        ASSERT_TRUE(lock) << foreign.what << ": " << lock.error().message();
        EXPECT_TRUE(lock->unlock()) << foreign.what;
        // Takes a round trip more, by the end of which the node has run the delist, too.
        ASSERT_TRUE(watching.lock("another name", {.ttl = 60s, .wait = 30s}));
        EXPECT_EQ(state_of(node, queue_key("name")), before) << foreign.what;
    }
}

TEST(ForeignKeys, R30_who_waited_in_vain_is_told_why_it_could_not_line_up) {
    Cluster cluster{3};
    auto locks = connect_to(cluster, soon_again());
    for (RedisServer& node : cluster) put(node, queue_key("name"), foreign_queues().front());
    occupy(cluster, "name", 1h);
    const auto lock = locks.lock("name", {.ttl = 1h, .wait = 1s});
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error(), errc::contended);
    EXPECT_NE(lock.error().message().find("denied (FOREIGN the queue of resource 1 is not one of ours)"),
              std::string::npos)
        << lock.error().message();
}

TEST(ForeignKeys, R30_of_several_resources_one_with_a_foreign_queue_keeps_all_from_lining_up) {
    RedisServer node;
    const core::Claim claim{{"a", "b"}, {}, {queue_key("a"), queue_key("b")}};
    put(node, queue_key("b"), foreign_queues().front());
    for (const char* key : {"a", "b"}) node.query({"SET", key, "theirs"});
    const auto run = [&](const core::Command& command) {
        std::string keys;
        Query query{"EVAL", std::string{command.script()->text}, "4", "a", "b"};
        query.insert(query.end(), claim.queues.begin(), claim.queues.end());
        query.push_back(member + "1");
        if (command.kind() == core::Command::Kind::enlist) query.insert(query.end(), {"17", "60000"});
        return node.query(query);
    };
    const auto enlisted = run(core::enlist_command(claim, member + "1", 17, 60s));
    ASSERT_TRUE(enlisted.is_error()) << enlisted;
    EXPECT_EQ(enlisted.text.find("FOREIGN the queue of resource 2"), 0U) << enlisted;
    EXPECT_EQ(node.query({"EXISTS", queue_key("a")}).number(), 0);
    node.query({"DEL", "a", "b"});
    EXPECT_EQ(run(core::delist_command(claim, member + "1")).integer, 1);
    EXPECT_EQ(node.query({"ZCARD", queue_key("b")}).number(), 3);
}

const std::vector<Foreign>& foreign_counters() {
    static const std::vector<Foreign> list{
        {"1e20", {{"SET", "KEY", "1e20"}}},
        {"nan", {{"SET", "KEY", "nan"}}},
        {"inf", {{"SET", "KEY", "inf"}}},
        {"2^53", {{"SET", "KEY", "9007199254740992"}}},
        {"more digits", {{"SET", "KEY", "12345678901234567890123456789012345678901234567890"}}},
        {"below zero", {{"SET", "KEY", "-5"}}},
        {"hexadecimal", {{"SET", "KEY", "0x10"}}},
        {"a blank", {{"SET", "KEY", " 12"}}},
        {"a line", {{"SET", "KEY", "12\n"}}},
        {"a fraction", {{"SET", "KEY", "12.5"}}},
        {"nothing", {{"SET", "KEY", ""}}},
        {"a word that ends", {{"SET", "KEY", "invoice", "PX", "3600000"}}},
        {"a hash", {{"HSET", "KEY", "a", "b"}}},
        {"a list that ends", {{"RPUSH", "KEY", "a"}, {"PEXPIRE", "KEY", "3600000"}}},
        {"a sorted set", {{"ZADD", "KEY", "1", "job"}}},
    };
    return list;
}

// There is only one node, the one with the foreign counter, so its refusal decides.
class ForeignCounter : public testing::Test {
   protected:
    void put_foreign(const Foreign& foreign) {
        put(node(), fence_key("name"), foreign);
        before_ = state_of(node(), fence_key("name"));
        what_ = foreign.what;
    }
    void expect_refused(const Failure& failure) {
        ASSERT_EQ(failure.nodes().size(), 1U) << what_ << ": " << failure.message();
        EXPECT_EQ(failure.nodes()[0].vote, Vote::refused) << what_ << ": " << failure.message();
        EXPECT_EQ(failure.nodes()[0].detail.find("FOREIGN the fencing counter of resource "), 0U)
            << what_ << ": " << failure.message();
        expect_untouched();
    }
    void expect_untouched() { EXPECT_EQ(state_of(node(), fence_key("name")), before_) << what_; }
    RedisServer& node() { return cluster_[0]; }

    Cluster cluster_{1};
    Redlock locks_ = connect_to(cluster_);

   private:
    std::string before_;
    const char* what_ = "";
};

TEST_F(ForeignCounter, R30_is_not_counted_on_by_an_acquire) {
    for (const Foreign& foreign : foreign_counters()) {
        put_foreign(foreign);
        const auto lock = locks_.try_lock("name", 60s);
        ASSERT_FALSE(lock) << foreign.what << ": token " << lock->fencing_token();
        expect_refused(lock.error());
        EXPECT_FALSE(node().get("name")) << foreign.what;
    }
}

TEST_F(ForeignCounter, R30_of_one_resource_keeps_the_others_as_they_are) {
    for (const Foreign& foreign : foreign_counters()) {
        put_foreign(foreign);
        const auto lock = locks_.try_lock({"another", "name", "third"}, 60s);
        ASSERT_FALSE(lock) << foreign.what;
        expect_refused(lock.error());
        EXPECT_EQ(node().keys(), std::vector{fence_key("name")}) << foreign.what;
    }
}

TEST_F(ForeignCounter, R30_is_not_written_by_an_extension_or_an_adoption) {
    for (const Foreign& foreign : foreign_counters()) {
        node().query({"DEL", "name", fence_key("name")});
        auto lock = locks_.try_lock("name", 60s).value();
        put_foreign(foreign);
        const auto extended = lock.extend(120s);
        ASSERT_FALSE(extended) << foreign.what;
        expect_refused(extended.error());
        EXPECT_LE(node().pttl("name").value(), 60s);

        const Handoff handoff = lock.detach();
        const auto adopted = locks_.adopt(handoff, 120s);
        ASSERT_FALSE(adopted) << foreign.what;
        expect_refused(adopted.error());
        const auto by_token = locks_.adopt("name", handoff.token, 120s);
        ASSERT_FALSE(by_token) << foreign.what;
        expect_refused(by_token.error());
        EXPECT_LE(node().pttl("name").value(), 60s);
    }
}

TEST_F(ForeignCounter, R30_is_not_written_by_a_commit_or_what_is_put_back) {
    const core::Claim claim{{"name"}, {fence_key("name")}};
    for (const Foreign& foreign : foreign_counters()) {
        put_foreign(foreign);
        for (const core::Script* script : {&core::commit_script, &core::put_back_script}) {
            const bool is_commit = script == &core::commit_script;
            node().query(is_commit ? Query{"SET", "name", "ours"} : Query{"DEL", "name"});
            Query query{"EVAL", std::string{script->text}, "2", "name", fence_key("name"), "ours"};
            if (!is_commit) query.emplace_back("60000");
            query.insert(query.end(), {"3600000", "9007199254740991"});
            const auto reply = node().query(query);
            EXPECT_EQ(reply.text.find("FOREIGN the fencing counter of resource 1"), 0U)
                << foreign.what << ": " << reply;
            EXPECT_EQ(node().get("name"), is_commit ? std::optional<std::string>{"ours"} : std::nullopt);
        }
        expect_untouched();
    }
}

TEST_F(ForeignCounter, R30_does_not_keep_one_from_looking_or_letting_go) {
    for (const Foreign& foreign : foreign_counters()) {
        node().query({"DEL", "name", fence_key("name")});
        auto lock = locks_.try_lock("name", 60s).value();
        put_foreign(foreign);
        const auto seen = locks_.inspect("name").value();
        EXPECT_EQ(seen.state, Inspection::State::held) << foreign.what;
        EXPECT_EQ(seen.nodes.at(0).report.vote, Vote::granted) << foreign.what;
        EXPECT_EQ(seen.nodes.at(0).fence, 0U) << foreign.what;
        EXPECT_NE(seen.nodes.at(0).report.detail.find("fencing counter"), std::string::npos) << foreign.what;
        EXPECT_TRUE(lock.unlock()) << foreign.what;
        expect_untouched();
    }
}

TEST_F(ForeignCounter, R30_has_the_last_number_below_2_to_the_53_and_no_more) {
    node().query({"SET", fence_key("name"), "9007199254740990", "PX", "3600000"});
    auto last = locks_.try_lock("name", 60s);
    ASSERT_TRUE(last) << last.error().message();
    EXPECT_EQ(last->fencing_token(), 9007199254740991U);
    EXPECT_EQ(node().get(fence_key("name")), "9007199254740991");
    EXPECT_TRUE(last->extend(60s));
    const Token token = last->detach().token;
    EXPECT_FALSE(got(locks_.adopt("name", token, 60s))) << "which would need another number";
    node().query({"DEL", "name"});
    const auto lock = locks_.try_lock("name", 60s);
    ASSERT_FALSE(lock) << lock->fencing_token();
    EXPECT_EQ(node().get(fence_key("name")), "9007199254740991");
    EXPECT_EQ(node().keys(), std::vector{fence_key("name")});
}

TEST_F(ForeignCounter, R30_that_has_no_ttl_is_used_and_is_given_none) {
    for (const char* value : {"5", "9000000000000000"}) {
        node().query({"SET", fence_key("name"), value});
        const auto stays = [&] { return node().query({"PTTL", fence_key("name")}).number() == -1; };
        auto lock = locks_.try_lock("name", 60s).value();
        EXPECT_EQ(node().get(fence_key("name")), std::to_string(lock.fencing_token()));
        EXPECT_TRUE(stays()) << "after an acquire";
        EXPECT_TRUE(lock.extend(60s));
        EXPECT_TRUE(stays()) << "after an extension";
        auto adopted = locks_.adopt("name", lock.detach().token, 60s).value();
        EXPECT_TRUE(stays()) << "after an adoption";
        EXPECT_EQ(node().get(fence_key("name")), std::to_string(adopted.fencing_token()));
        EXPECT_TRUE(adopted.unlock());
    }
}

// A foreign value at a resource's key belongs to another client, and must not stop a release half-way.
TEST(ForeignKeys, R30_a_resource_that_became_something_else_is_not_ours_any_more) {
    Cluster cluster{1};
    auto locks = connect_to(cluster);
    auto lock = locks.try_lock({"a", "b", "c"}, 60s).value();
    put(cluster[0], "b", {"a hash", {{"HSET", "KEY", "x", "y"}}});
    EXPECT_EQ(lock.extend(60s).error(), errc::lost);
    EXPECT_EQ(lock.unlock().error(), errc::lost);
    EXPECT_TRUE(eventually(patience, [&] { return !cluster[0].get("a") && !cluster[0].get("c"); }));
    EXPECT_EQ(cluster[0].query({"HGET", "b", "x"}).text, "y");
}

}  // namespace
}  // namespace redlock::test
