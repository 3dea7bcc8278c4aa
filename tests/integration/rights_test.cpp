// SPDX-License-Identifier: Apache-2.0
// The README shows a user with the fewest rights that suffice: the node refuses that user nothing, and
// refuses something once any one of the rights is taken away.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

#include "integration/waiting_parts.hpp"
#include "redlock/inspect.hpp"

namespace redlock::test {
namespace {

using Texts = std::vector<std::string>;

// The README's command "ACL SETUSER locks ...", which spans several lines.
Texts rule_of_readme() {
    std::ifstream file{REDLOCK_README};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    const auto begin = std::min(text.find("ACL SETUSER "), text.size());
    std::istringstream rule{text.substr(begin, text.find("```", begin) - begin)};
    return {std::istream_iterator<std::string>{rule}, {}};
}

// The user on a node of its own.
class LimitedUser {
   public:
    explicit LimitedUser(const Texts& rule) {
        if (node().query(rule).text != "OK") throw std::runtime_error("the node does not take the rule");
    }

    [[nodiscard]] Redlock connect(const Options& options = soon_again(), const std::string& query = "") {
        return Redlock{{"unix://locks:secret@" + node().socket_path() + query}, options};
    }

    // The commands, keys and channels that the node refused.
    [[nodiscard]] Texts refused() {
        Texts objects;
        for (const Reply& entry : node().query({"ACL", "LOG"}).elements) {
            const auto& fields = entry.elements;
            const auto name = std::find_if(fields.begin(), fields.end(),
                                           [](const Reply& field) { return field.text == "object"; });
            if (name != fields.end()) objects.push_back(std::next(name)->text);
        }
        return objects;
    }

    // Makes the library send every kind of request, until the node refuses one.
    void do_everything() {
        static_cast<void>(connect(soon_again(), "?db=1").try_lock("orders/1", 60s));
        Options plain = soon_again();
        plain.fencing = false;
        hold(plain);
        hold(soon_again());
        if (refused().empty()) wait_and_be_notified();
        if (refused().empty()) reconnect();
    }

    Cluster cluster{1};

   private:
    [[nodiscard]] RedisServer& node() { return cluster[0]; }

    template <class Condition>
    [[nodiscard]] bool eventually_or_refused(Condition&& is_true) {
        return eventually(patience, [&] { return is_true() || !refused().empty(); });
    }

    void hold(const Options& options) {
        Redlock locks = connect(options);
        static_cast<void>(locks.inspect("orders/1"));
        auto lock = locks.try_lock("orders/1", 60s);
        if (!lock) return;
        static_cast<void>(locks.try_lock({"orders/1", "orders/2"}, 60s));
        static_cast<void>(lock->extend(120s));
    }
    void wait_and_be_notified() {
        Redlock holding = connect();
        Redlock locks = connect();
        auto held = holding.try_lock("orders/1", 60s).value();
        std::stop_source source;
        auto waiting = wait_in_thread(locks, "orders/1", {.wait = forever, .stop = source.get_token()});
        EXPECT_TRUE(eventually_or_refused([&] { return queue_lengths(cluster, "orders/1")[0] == 1; }));
        static_cast<void>(held.unlock());
        EXPECT_TRUE(eventually_or_refused([&] { return waiting.wait_for(0s) == std::future_status::ready; }));
        source.request_stop();
    }
    // A client that has lost its connection first ends it on the node.
    void reconnect() {
        Redlock locks = connect();
        static_cast<void>(locks.try_lock("orders/1", 60s));
        node().query({"CLIENT", "KILL", "USER", "locks"});
        EXPECT_TRUE(eventually_or_refused([&] {
            static_cast<void>(locks.try_lock("orders/1", 60s));
            return node().major_version() < 7 || node().command_stat("client|kill") > 1;
        }));
    }
};

class Rights : public ::testing::Test {
   protected:
    void SetUp() override {
        if (!knows_channel_rights()) GTEST_SKIP() << "this server has no rights for channels";
        ASSERT_GT(rule.size(), 20U) << "the README has no such rule";
    }

    const Texts rule = rule_of_readme();
};

TEST_F(Rights, of_the_readme_are_enough) {
    LimitedUser user{rule};
    user.do_everything();
    EXPECT_EQ(user.refused(), Texts{});
    auto locks = user.connect(notified_only());
    auto lock = locks.try_lock("orders/1", 1h);
    ASSERT_TRUE(lock) << lock.error().message();
    auto waiting = wait_in_thread(locks, "orders/1");
    EXPECT_TRUE(lock->unlock());
    EXPECT_TRUE(is_soon_over(waiting));
    EXPECT_TRUE(waiting.get());
}

TEST_F(Rights, of_the_readme_are_for_its_locks_only) {
    LimitedUser user{rule};
    const auto lock = user.connect().try_lock("name", 60s);
    ASSERT_FALSE(lock);
    EXPECT_NE(lock.error().message().find("NOPERM"), std::string::npos) << lock.error().message();
}

TEST_F(Rights, of_the_readme_are_all_needed) {
    for (std::size_t i = 0; i < rule.size(); ++i) {
        if (std::string_view{"+~&"}.find(rule[i].front()) == std::string_view::npos) continue;
        Texts less = rule;
        less.erase(less.begin() + static_cast<std::ptrdiff_t>(i));
        LimitedUser user{less};
        user.do_everything();
        EXPECT_NE(user.refused(), Texts{}) << "without " << rule[i];
    }
}

}  // namespace
}  // namespace redlock::test
