// SPDX-License-Identifier: Apache-2.0
// When a node is tried again: what ends the backoff, and what makes it grow (R22).
#include <atomic>

#include "integration/connection_parts.hpp"

namespace redlock::test {
namespace {

using redlock::detail::Sent;

// The default backoff starts at 10 ms and doubles: attempts at 0, 10, 30, 70, 150, 310 and 630 ms, or at most
// twice as often.
constexpr std::size_t a_few = 14;

// Accepts the login and closes the connection at any other request, after an optional reply.
FakeNode hanging_up(const std::string& last_reply = {}) {
    return scripted_node([last_reply](const Request& request) {
        return says(request, "SET") ? Answer{last_reply, true} : agreeable_answer(request);
    });
}

TEST(ConnectionBackoff, R22_a_login_does_not_end_it) {
    const FakeNode node = hanging_up();
    DrivenTransport driven{{node.uri()}};
    driven.poll_for(1s, [&] { static_cast<void>(driven.send({"SET", "name", "token"})); });
    EXPECT_GT(driven.ups.size(), 1U);
    EXPECT_LE(node.accepted(), a_few);
}

TEST(ConnectionBackoff, R22_a_request_that_was_answered_ends_it) {
    FakeNode node = agreeable_node();
    DrivenTransport driven{{node.uri()}, waits_long()};
    ASSERT_TRUE(driven.comes_up());
    ASSERT_TRUE(driven.is_answered({"SET", "name", "token"}));
    node.close_connections();
    ASSERT_TRUE(driven.poll_until([&] { return driven.downs.size() == 1; }));
    EXPECT_EQ(driven.connect(), Sent::connecting) << "it was well a moment ago";
    EXPECT_TRUE(driven.transport().is_promising(0));
}

TEST(ConnectionBackoff, R22_an_error_does_not_end_it) {
    for (const std::string error :
         {"-READONLY You can't write against a read only replica.", "-MOVED 1 a:1",
          "-NOAUTH Authentication required.", "-DENIED no", "-ERR rate limit exceeded"}) {
        const FakeNode node = hanging_up(error + "\r\n");
        DrivenTransport driven{{node.uri()}, waits_long()};
        ASSERT_TRUE(driven.comes_up());
        ASSERT_TRUE(driven.is_answered({"SET", "name", "token"}));
        ASSERT_TRUE(driven.poll_until([&] { return driven.downs.size() == 1; }));
        EXPECT_EQ(driven.connect(), Sent::down) << error;
    }
}

// The call that finds the connection closed gets no event. Not every call may cause a new connection.
TEST(ConnectionBackoff, R22_a_server_that_closes_at_once_is_not_taken_for_one_that_closes_idle_connections) {
    FakeNode node = agreeable_node();
    DrivenTransport driven{{node.uri()}, waits_long()};
    ASSERT_TRUE(driven.comes_up());
    node.close_connections();
    ASSERT_TRUE(eventually(patience, [&] { return driven.connect() != Sent::accepted; })) << "nobody polls";
    EXPECT_EQ(driven.connect(), Sent::down);
    EXPECT_EQ(node.accepted(), 1U);
}

TEST(ConnectionBackoff, R22_one_that_was_closed_idle_after_it_had_answered_is_replaced_at_once) {
    FakeNode node = agreeable_node();
    DrivenTransport driven{{node.uri()}, waits_long()};
    ASSERT_TRUE(driven.comes_up());
    ASSERT_TRUE(driven.is_answered({"SET", "name", "token"}));
    node.close_connections();
    ASSERT_TRUE(eventually(patience, [&] { return driven.connect() != Sent::accepted; })) << "nobody polls";
    EXPECT_EQ(driven.connect(), Sent::connecting);
    EXPECT_TRUE(driven.transport().is_promising(0));
}

TEST(ConnectionBackoff, R22_only_where_nothing_has_failed_a_connection_is_promising) {
    const FakeNode node = hanging_up();
    DrivenTransport driven{{node.uri()}, tries_often()};
    EXPECT_FALSE(driven.transport().is_promising(0)) << "none is being made";
    ASSERT_EQ(driven.connect(), Sent::connecting);
    EXPECT_TRUE(driven.transport().is_promising(0)) << "the first";
    ASSERT_TRUE(driven.poll_until([&] { return driven.ups.size() == 1; }));
    EXPECT_FALSE(driven.transport().is_promising(0)) << "it is up";
    ASSERT_EQ(driven.send({"SET", "name", "token"}), Sent::accepted);
    ASSERT_TRUE(driven.poll_until([&] { return driven.downs.size() == 1; }));
    ASSERT_TRUE(eventually(patience, [&] { return driven.connect() == Sent::connecting; }));
    EXPECT_FALSE(driven.transport().is_promising(0)) << "that one took a log-in and no more";
}

TEST(ConnectionBackoff, R22_a_subscription_that_is_hung_up_on_right_away_is_made_ever_more_seldom) {
    const FakeNode node = scripted_node([](const Request& request) {
        Answer answer = agreeable_answer(request);
        answer.then_close = says(request, "SUBSCRIBE");
        return answer;
    });
    DrivenTransport driven{{node.uri()}};
    driven.transport().listen("channel");
    driven.poll_for(1s);
    EXPECT_GT(node.count("SUBSCRIBE"), 1U);
    EXPECT_LE(node.accepted(), a_few);
}

TEST(ConnectionBackoff, R22_poll_itself_connects_while_a_node_is_to_be_kept_trying) {
    std::atomic<bool> is_well{false};
    const FakeNode node = scripted_node([&](const Request& request) {
        return is_well ? agreeable_answer(request) : Answer{"", true};
    });
    DrivenTransport driven{{node.uri()}, tries_often()};
    ASSERT_EQ(driven.connect(), Sent::connecting);
    driven.poll_for(100ms);
    EXPECT_EQ(node.accepted(), 1U) << "nobody wants it";
    driven.transport().keep_trying(0, true);
    EXPECT_TRUE(driven.poll_until([&] { return node.accepted() >= 3; }));
    is_well = true;
    EXPECT_TRUE(driven.poll_until([&] { return driven.ups.size() == 1; }));
    driven.transport().keep_trying(0, false);
}

TEST(ConnectionBackoff, R22_poll_waits_no_longer_than_until_the_next_try) {
    const FakeNode node = closing_node();
    DrivenTransport driven{{node.uri()}, tries_often()};
    driven.transport().keep_trying(0, true);
    const auto before = std::chrono::steady_clock::now();
    for (int i = 0; node.accepted() < 3 && i < 20; ++i) driven.poll(5s);
    EXPECT_EQ(node.accepted(), 3U);
    EXPECT_LT(std::chrono::steady_clock::now() - before, 5s);
}

TEST(ConnectionBackoff, R29_one_that_is_dropped_says_why_tells_nothing_and_is_made_anew_after_the_backoff) {
    FakeNode node = agreeable_node();
    DrivenTransport driven{{node.uri()}, waits_long()};
    driven.when_up = [&] { driven.transport().drop(0, {Vote::refused, "it is a replica, not a master"}); };
    ASSERT_TRUE(driven.comes_up());
    driven.poll_for(20ms);
    EXPECT_TRUE(driven.downs.empty());
    EXPECT_EQ(driven.connect(), Sent::down);
    EXPECT_EQ(driven.transport().fault(0).text, "it is a replica, not a master");
    EXPECT_TRUE(eventually(patience, [&] { return node.connections() == 0; }));
}

}  // namespace
}  // namespace redlock::test
