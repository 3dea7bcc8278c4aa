// SPDX-License-Identifier: Apache-2.0
// Compares the model of Redis with a real server: the same commands at the same time get the same replies.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/voting/command.hpp"
#include "sim/model_redis.hpp"
#include "sim/random.hpp"
#include "support/redis_client.hpp"
#include "support/redis_server.hpp"

namespace {

using namespace redlock;
using namespace redlock::sim;
using namespace std::chrono_literals;
using std::chrono::milliseconds;

/// The first word of an error. Within a script some versions say ERR for what is not permitted.
std::string error_word(const std::string& text) {
    const std::string word = text.substr(0, text.find(' '));
    return "error " + (word == "NOPERM" ? "ERR" : word);
}

/// The reply of either, as text that can be compared.
std::string words_of(const ModelReply& reply) {
    switch (reply.kind) {
        case ModelReply::Kind::nil: return "nil";
        case ModelReply::Kind::integer: return std::to_string(reply.integer);
        case ModelReply::Kind::error: return error_word(reply.text);
        case ModelReply::Kind::text: return reply.text;
        case ModelReply::Kind::array: break;
    }
    std::string words = "[";
    for (const std::int64_t element : reply.elements) words += " " + std::to_string(element);
    return words;
}

std::string words_of(const test::Reply& reply) {
    using Kind = test::Reply::Kind;
    switch (reply.kind) {
        case Kind::nil: return "nil";
        case Kind::integer: return std::to_string(reply.integer);
        case Kind::error: return error_word(reply.text);
        case Kind::array: break;
        default: return reply.text;
    }
    std::string words = "[";
    for (const auto& element : reply.elements) words += " " + words_of(element);
    return words;
}

std::int64_t time_of(const test::Reply& reply) {
    return std::stoll(reply.elements.at(0).text) * 1'000'000 + std::stoll(reply.elements.at(1).text);
}

/// Draws requests as the library makes them, on few keys and with few tokens so that they collide.
class RequestSource {
   public:
    explicit RequestSource(std::uint64_t seed) : random_{seed, 0} {}

    [[nodiscard]] std::string next() {
        using Kind = detail::Command::Kind;
        const std::uint64_t which = random_.below(14);
        if (which == 13) return of_others();
        if (which >= 9) return of_waiting(which);
        const bool is_fenced = which == 3 || which == 6 || random_.chance(70);
        const detail::Claim claim = draw_claim(is_fenced);
        const Token token = Token::parse(random_.chance(50) ? "ours" : "theirs");
        const milliseconds ttl = draw_ttl();
        std::vector<std::int64_t> fences;
        for (std::size_t i = 0; i < claim.counters.size(); ++i) fences.push_back(random_.between(1, 12));
        switch (which) {
            case 0:
            case 1: return bytes(detail::acquire_command(claim, token, ttl, fence_ttl, fences));
            case 2: return bytes(detail::release_command(with_queues(claim), token));
            case 3: return bytes(detail::commit_command(claim, token, fence_ttl, fences, random_.chance(50)));
            case 4: return bytes(detail::hold_command(Kind::extend, claim, token, ttl, fence_ttl, fences));
            case 5: return bytes(detail::hold_command(Kind::put_back, claim, token, ttl, fence_ttl, fences));
            case 6: return bytes(detail::adopt_command(claim, token, fence_ttl, fences));
            default: return plain(ttl);
        }
    }

    /// How many requests of others were drawn.
    [[nodiscard]] std::size_t foreign_count() const noexcept { return foreign_count_; }

    /// No plain commands on them, which a user without the permission could not run.
    void leave_queues_alone() noexcept { plain_keys_ = 4; }

    /// The channels that waiters may name. The last one has no subscriber, ever.
    static constexpr std::array<const char*, 3> channels{"redlock:1111111111222222222233333333334444444444",
                                                         "redlock:aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd",
                                                         "redlock:0000000000000000000000000000000000000000"};

   private:
    static constexpr milliseconds fence_ttl = 1h;

    /// Few waiters, so that they return, leave and are notified, and few points in time, so that some are
    /// equal.
    [[nodiscard]] std::string of_waiting(std::uint64_t which) {
        const detail::Claim claim = with_queues(draw_claim(false));
        const std::string waiter = std::string{channels[random_.below(channels.size())]} + " " +
                                   std::to_string(random_.between(1, 3));
        const std::int64_t since = 1'750'000'000'000'000 + random_.between(0, 3);
        return which == 12 ? bytes(detail::delist_command(claim, waiter))
                           : bytes(detail::enlist_command(claim, waiter, since, draw_ttl()));
    }

    [[nodiscard]] detail::Claim with_queues(detail::Claim claim) {
        for (const std::string& name : claim.resources) claim.queues.push_back(detail::queue_key(name));
        return claim;
    }

    /// Now and then with the script's text.
    [[nodiscard]] std::string bytes(const detail::Command& command) {
        const bool has_text = command.script() != nullptr && random_.chance(30);
        return has_text ? command.with_script_text() : command.bytes();
    }

    [[nodiscard]] std::string plain(milliseconds ttl) {
        const std::array<const char*, 6> names{"GET", "PTTL", "EXISTS", "DEL", "PEXPIRE", "ZCARD"};
        const std::string name = names[random_.below(names.size())];
        detail::RequestWriter writer{name == "PEXPIRE" ? 3U : 2U};
        writer.arg(name).arg(keys[random_.below(plain_keys_)]);
        if (name == "PEXPIRE") writer.arg(random_.one_in(5) ? milliseconds{0} : ttl);
        return std::move(writer).take();
    }

    /// What an application may do to keys that could be ours. It deletes as often as it writes, so that not
    /// all keys are its own in the end.
    [[nodiscard]] std::string of_others() {
        ++foreign_count_;
        const std::string_view key = keys[random_.below(plain_keys_)];
        const std::array<const char*, 12> values{"5",
                                                 "nan",
                                                 "1e20",
                                                 "9007199254740990",
                                                 "9007199254740991",
                                                 "-5",
                                                 "0x10",
                                                 "007",
                                                 "9007199254740992",
                                                 " 12",
                                                 "12.5",
                                                 "99999999999999999999999"};
        const std::array<const char*, 6> members{"job-1",
                                                 "redlock:1111111111222222222233333333334444444444 1",
                                                 "redlock:1111111111222222222233333333334444444444 x",
                                                 "redlock:1111111111222222222233333333334444444444 1 2",
                                                 "redlock:111111111122222222223333333333444444444 1",
                                                 "redlock:11111111112222222222333333333344444444444 1"};
        const auto request = [&](std::initializer_list<std::string_view> words) {
            detail::RequestWriter writer{words.size()};
            for (const std::string_view word : words) writer.arg(word);
            return std::move(writer).take();
        };
        const std::string score = std::to_string(1'750'000'000'000'000 + random_.between(-1, 4));
        switch (random_.below(8)) {
            case 0: return request({"SET", key, values[random_.below(values.size())]});
            case 1: return request({"SET", key, values[random_.below(values.size())], "PX", "50000"});
            case 2: return request({"ZADD", key, score, members[random_.below(members.size())]});
            case 3: return request({"PERSIST", key});
            case 4: return request({"PEXPIRE", key, "50000"});
            case 5: return request({"HSET", key, "field", "x"});
            default: return request({"DEL", key});
        }
    }

    /// Some end while the test runs.
    [[nodiscard]] milliseconds draw_ttl() { return random_.spread(1ms, milliseconds{100'000}); }

    [[nodiscard]] detail::Claim draw_claim(bool is_fenced) {
        detail::Claim claim;
        const std::uint64_t which = random_.below(3);
        if (which != 0) claim.resources.emplace_back("red");
        if (which != 1) claim.resources.emplace_back("blue");
        if (!is_fenced) return claim;
        for (const std::string& name : claim.resources) claim.counters.push_back(detail::fence_key(name));
        return claim;
    }

    static constexpr std::array<const char*, 6> keys{"red",
                                                     "blue",
                                                     "{red}:redlock-fence",
                                                     "{blue}:redlock-fence",
                                                     "{red}:redlock-queue",
                                                     "{blue}:redlock-queue"};

    Random random_;
    std::size_t plain_keys_ = keys.size();
    std::size_t foreign_count_ = 0;
};

class ModelAgainstRedis : public testing::Test {
   protected:
    /// Asks the real server as a user, and its clock in the same transaction.
    test::Reply ask(test::RedisClient& user, const std::vector<std::string>& words) {
        user.query({"MULTI"});
        user.query({"TIME"});
        const test::Reply queued = user.query(words);
        if (queued.is_error()) {  // not permitted, as a whole
            user.query({"DISCARD"});
            now_us_ = time_of(server_.query({"TIME"}));
            return queued;
        }
        user.query({"TIME"});
        const std::int64_t before_us = early_in_a_millisecond();
        test::Reply replies = user.query({"EXEC"});
        now_us_ = time_of(replies.elements.at(0));
        is_blurred_ = before_us / 1000 != time_of(replies.elements.at(2)) / 1000;
        // A command still sees a key in its last millisecond, but Redis 8 may remove it beforehand.
        is_expiring_ = model_.store().is_last_of_a_key(now_us_ / 1000);
        return replies.elements.at(1);
    }
    test::Reply ask(const std::vector<std::string>& words) { return ask(client_, words); }

    /// The real server's, and the model's at the same time of the day.
    std::pair<test::Reply, ModelReply> replies_to(const detail::Command& command) {
        const std::string request = command.with_script_text();
        std::string_view stream = request;
        EXPECT_TRUE(take_request(stream, words_));
        const std::vector<std::string> words{words_.begin(), words_.end()};
        test::Reply real = ask(words);
        return {std::move(real), model_.execute(words_, now_us_)};
    }

    /// Redis reads its clock more than once for one request: it has to be done within a millisecond.
    static std::int64_t early_in_a_millisecond() {
        for (;;) {
            const auto now = std::chrono::system_clock::now().time_since_epoch();
            const std::int64_t now_us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
            if (now_us % 1000 < 700) return now_us;
        }
    }

    /// Whether the model's reply at the time of the real one is the same, and what is published.
    bool agrees(const std::string& request, const std::string& wanted, const std::string& published = "| ") {
        std::string_view stream = request;
        EXPECT_TRUE(take_request(stream, words_));
        got_ = words_of(model_.execute(words_, now_us_));
        notices_ = {};
        for (const ModelRedis::Notice& notice : model_.take_notices()) {
            notices_[notice.subscriber] += notice.payload + "; ";
        }
        return got_ == wanted && notices_[0] + "| " + notices_[1] == published;
    }

    /// Runs requests on both as a user of the server. What is published must be the same as well.
    void compare(RequestSource& source, test::RedisClient& user, int count) {
        for (int i = 0; i < count && !testing::Test::HasFatalFailure(); ++i) {
            if (i % 500 == 499) {
                server_.query({"SCRIPT", "FLUSH"});
                model_.forget_scripts();
            }
            if (i % 100 == 99 && &user == &client_) change_subscription(i / 100 % 2);
            const std::string request = source.next();
            std::string_view stream = request;
            ASSERT_TRUE(take_request(stream, words_));
            ASSERT_TRUE(stream.empty());
            std::vector<std::string> words;
            for (const std::string_view word : words_) words.emplace_back(word);
            const std::string wanted = words_of(ask(user, words));
            const std::string published = hear(0) + "| " + hear(1);
            if (begins_anew()) continue;
            notice_count_ += published.size() > 2 ? 1 : 0;
            ASSERT_TRUE(agrees(request, wanted, published))
                << "request " << i << ": " << request << "\nRedis: " << wanted << ", published " << published
                << "\nmodel: " << got_ << ", published " << notices_[0] << "| " << notices_[1];
        }
    }

    /// Where it is unknown in which millisecond the server ran a request, or whether a key existed, both
    /// servers discard the result.
    bool begins_anew() {
        const bool is_expiring = std::exchange(is_expiring_, false);
        if (!std::exchange(is_blurred_, false) && !is_expiring) return false;
        server_.query({"DEL", "red", "blue", "{red}:redlock-fence", "{blue}:redlock-fence",
                       "{red}:redlock-queue", "{blue}:redlock-queue"});
        server_.query({"SCRIPT", "FLUSH"});
        model_.store().forget_all();
        model_.forget_scripts();
        return true;
    }

    /// What the real server has published since.
    std::string hear(std::size_t id) {
        std::string heard;
        if (!is_subscribed_[id]) return heard;
        test::Reply reply = subscribers_[id].query({"PING"});
        for (; reply.elements.at(0).text == "message"; reply = subscribers_[id].listen()) {
            heard += reply.elements.at(2).text + "; ";
        }
        return heard;
    }

    /// Two channels, each now and then with nobody there.
    void change_subscription(int which) {
        const char* channel = RequestSource::channels[static_cast<std::size_t>(which)];
        const auto id = static_cast<std::uint32_t>(which);
        is_subscribed_[id] = !is_subscribed_[id];
        subscribers_[id].query({is_subscribed_[id] ? "SUBSCRIBE" : "UNSUBSCRIBE", channel});
        if (is_subscribed_[id]) {
            EXPECT_TRUE(model_.subscribe(id, channel));
        } else {
            model_.unsubscribe(id);
        }
    }

    test::RedisServer server_;
    test::Address address_ = test::Address::unix_path(server_.socket_path());
    test::RedisClient client_{address_};
    std::array<test::RedisClient, 2> subscribers_{test::RedisClient{address_}, test::RedisClient{address_}};
    std::array<bool, 2> is_subscribed_{};
    std::array<std::string, 2> notices_;  ///< the model's, of the last request
    std::size_t notice_count_ = 0;
    ModelRedis model_;
    std::vector<std::string_view> words_;
    std::string got_;
    std::int64_t now_us_ = 0;
    bool is_blurred_ = false;
    bool is_expiring_ = false;
};

TEST_F(ModelAgainstRedis, gives_the_same_replies) {
    RequestSource source{7};
    compare(source, client_, 5000);
    // On a busy machine more keys expire before they are released.
    for (int i = 0; i < 50 && notice_count_ <= 20; ++i) compare(source, client_, 1000);
    EXPECT_GT(notice_count_, 20U);
    EXPECT_GT(source.foreign_count(), 200U);
}

TEST_F(ModelAgainstRedis, forbids_the_same_to_one_who_may_not_publish) {
    server_.query({"ACL", "SETUSER", "quiet", "on", ">any", "~*", "+@all", "resetchannels"});
    test::RedisClient quiet{address_, {"quiet", "any"}};
    RequestSource source{8};
    compare(source, client_, 300);
    model_.permit({.channels = false});
    const auto before = notice_count_;
    compare(source, quiet, 800);
    EXPECT_EQ(notice_count_, before);
    model_.permit({});
    compare(source, client_, 300);
    EXPECT_TRUE(quiet.query({"SUBSCRIBE", RequestSource::channels[0]}).is_error());
}

TEST_F(ModelAgainstRedis, forbids_the_same_to_one_who_may_not_touch_the_queues) {
    server_.query({"ACL", "SETUSER", "lone", "on", ">any", "~red", "~blue", "~*:redlock-fence", "+@all",
                   "allchannels"});
    test::RedisClient lone{address_, {"lone", "any"}};
    RequestSource source{9};
    source.leave_queues_alone();
    compare(source, client_, 300);
    model_.permit({.queues = false});
    compare(source, lone, 800);
    model_.permit({});
    compare(source, client_, 300);
}

// A proposal far ahead of the node's clock is cut to a day ahead of it, but for one close to the counter.
TEST_F(ModelAgainstRedis, cuts_wild_proposals_alike) {
    constexpr std::int64_t wild = 5'000'000'000'000'000;
    const detail::Claim claim{{"red"}, {detail::fence_key("red")}};
    const std::array<std::int64_t, 1> proposals{wild};
    const auto [real, modelled] =
        replies_to(detail::acquire_command(claim, Token::parse("ours"), 10s, 1h, proposals));
    ASSERT_EQ(real.elements.size(), 2U);
    ASSERT_EQ(modelled.elements.size(), 2U);
    EXPECT_NEAR(static_cast<double>(modelled.elements[1]), static_cast<double>(real.elements[1].integer),
                1e6);
    EXPECT_LT(modelled.elements[1], wild);

    constexpr std::int64_t day = 86'400'000'000;
    const std::int64_t counter = modelled.elements[1];
    for (const std::int64_t ahead : {std::int64_t{-7}, std::int64_t{1}, day, day + 1, 5 * day}) {
        for (const std::vector<std::string>& words :
             {std::vector<std::string>{"DEL", "red"}, {"SET", claim.counters[0], std::to_string(counter)}}) {
            ask(words);
            const std::vector<std::string_view> same{words.begin(), words.end()};
            model_.execute(same, now_us_);
        }
        const std::array<std::int64_t, 1> next{counter + ahead};
        const auto [there, here] =
            replies_to(detail::acquire_command(claim, Token::parse("ours"), 10s, 1h, next));
        ASSERT_EQ(there.elements.size(), 2U) << ahead;
        ASSERT_EQ(here.elements.size(), 2U) << ahead;
        const bool is_cut = ahead > day;
        EXPECT_NEAR(static_cast<double>(here.elements[1]), static_cast<double>(there.elements[1].integer),
                    is_cut ? 1e6 : 0)
            << ahead;
        if (!is_cut) {
            EXPECT_EQ(here.elements[1], counter + std::max<std::int64_t>(ahead, 1));
        }
        if (is_cut) {
            EXPECT_LT(here.elements[1], counter + day / 2);
        }
    }
}

// Values at the queue's key, and what a release, an enlist and a delist do with them.
TEST_F(ModelAgainstRedis, leaves_the_queues_of_others_alone_alike) {
    const std::string key = detail::queue_key("red");
    const detail::Claim claim{{"red"}, {}, {key}};
    const Token token = Token::parse("ours");
    const std::string waiter = std::string{RequestSource::channels[2]} + " 7";
    const auto request = [](const std::vector<std::string>& words) {
        detail::RequestWriter writer{words.size()};
        for (const std::string& word : words) writer.arg(word);
        return std::move(writer).take();
    };
    const std::vector<std::string> asked{
        detail::release_command(claim, token).with_script_text(),
        detail::enlist_command(claim, waiter, 5, 60s).with_script_text(),
        detail::delist_command(claim, waiter).with_script_text(),
    };
    for (const char* first : {"job", "job 1", "redlock:1 1", RequestSource::channels[2]}) {
        for (const bool has_ttl : {true, false}) {
            for (const bool is_ours_first : {true, false}) {
                for (const std::string& what : asked) {
                    std::vector<std::string> requests{
                        request({"DEL", key}), request({"SET", "red", "ours"}),
                        request({"ZADD", key, is_ours_first ? "9" : "1", first}),
                        request({"ZADD", key, "3", std::string{RequestSource::channels[2]} + " 1"})};
                    if (has_ttl) requests.push_back(request({"PEXPIRE", key, "60000"}));
                    if (&what == &asked[2]) requests.push_back(request({"DEL", "red"}));
                    requests.push_back(what);
                    requests.push_back(request({"ZCARD", key}));
                    for (const std::string& each : requests) {
                        std::string_view stream = each;
                        ASSERT_TRUE(take_request(stream, words_));
                        const std::string wanted = words_of(ask({words_.begin(), words_.end()}));
                        ASSERT_TRUE(agrees(each, wanted))
                            << each << "\nRedis: " << wanted << "\nmodel: " << got_;
                    }
                }
            }
        }
    }
}

// The commit of an adoption must be above the counter; the commit of an acquisition need not.
TEST_F(ModelAgainstRedis, commits_above_the_counter_alike) {
    const detail::Claim claim{{"red"}, {detail::fence_key("red")}};
    const Token token = Token::parse("ours");
    using Both = std::pair<std::int64_t, std::int64_t>;
    const auto says_both = [&](const detail::Command& command) {
        const auto [real, modelled] = replies_to(command);
        return Both{real.integer, modelled.integer};
    };
    const auto commit = [&](std::int64_t fence, bool above) {
        return detail::commit_command(claim, token, 1h, std::array{fence}, above);
    };
    says_both(detail::acquire_command(claim, token, 60s, 1h, std::array{std::int64_t{7}}));
    EXPECT_EQ(says_both(commit(7, false)), (Both{1, 1}));
    EXPECT_EQ(says_both(commit(7, true)), (Both{0, 0}));
    EXPECT_EQ(says_both(commit(8, true)), (Both{1, 1}));
    EXPECT_EQ(says_both(commit(7, false)), (Both{0, 0}));
}

TEST_F(ModelAgainstRedis, expires_at_the_same_millisecond) {
    for (int i = 0; i < 20; ++i) {
        const std::string set =
            std::move(detail::RequestWriter{6}.arg("SET").arg("red").arg("x").arg("NX").arg("PX").arg(
                          milliseconds{1 + i % 4}))
                .take();
        const std::string stored = words_of(ask({"SET", "red", "x", "NX", "PX", std::to_string(1 + i % 4)}));
        if (begins_anew()) continue;
        ASSERT_TRUE(agrees(set, stored));
        const std::string get = std::move(detail::RequestWriter{2}.arg("PTTL").arg("red")).take();
        for (std::string left; left != "-2";) {
            left = words_of(ask({"PTTL", "red"}));
            if (is_expiring_) continue;
            if (begins_anew()) break;
            ASSERT_TRUE(agrees(get, left)) << "Redis: " << left << ", model: " << got_;
        }
    }
}

}  // namespace
