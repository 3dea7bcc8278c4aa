// SPDX-License-Identifier: Apache-2.0
// A node's replies at login, and what follows from them (R29, R31).
#include <atomic>

#include "integration/connection_parts.hpp"
#include "redlock/hiredis/login.hpp"
#include "redlock/hiredis/reply_reader.hpp"

namespace redlock::test {
namespace {

using redlock::detail::Scripts;

// An agreeable node that answers one request with an error: "INFO", or "CLIENT ID".
FakeNode objecting_to(const std::string& question, const std::string& error,
                      std::atomic<int>* times = nullptr) {
    return scripted_node([=](const Request& request) -> Answer {
        const auto blank = question.find(' ');
        const bool is_it = says(request, question.substr(0, blank),
                                blank == std::string::npos ? std::string{} : question.substr(blank + 1));
        if (!is_it || (times != nullptr && (*times)-- <= 0)) return agreeable_answer(request);
        return error + "\r\n";
    });
}

TEST(ConnectionLogin, R29_an_error_that_passes_is_no_answer) {
    for (const std::string question : {"INFO", "CLIENT ID", "CLIENT SETNAME", "SCRIPT", "EVALSHA", "EVAL"}) {
        for (const std::string text :
             {"BUSY Redis is busy running a script.", "LOADING Redis is loading the dataset in memory",
              "MASTERDOWN Link with MASTER is down", "TRYAGAIN later", "NOAUTH Authentication required.",
              "DENIED Redis is running in protected mode", "SOMETHING new"}) {
            std::atomic<int> times{1};
            const FakeNode node = objecting_to(question, "-" + text, &times);
            DrivenTransport driven{{node.uri()}, tries_often()};
            driven.transport().keep_trying(0, true);
            ASSERT_TRUE(driven.poll_until([&] { return !driven.ups.empty(); })) << question << ": " << text;
            ASSERT_EQ(driven.downs.size(), 1U) << question << ": " << text;
            EXPECT_EQ(driven.downs[0].vote, Vote::refused);
            EXPECT_EQ(driven.downs[0].text, text);
            EXPECT_EQ(driven.ups[0].run_id, std::string(40, 'f'));
            EXPECT_EQ(driven.ups[0].scripts, Scripts::by_name);
        }
    }
}

TEST(ConnectionLogin, R29_what_may_not_be_asked_is_no_reason_to_do_without_the_node) {
    for (const std::string question : {"INFO", "CLIENT ID", "CLIENT SETNAME", "SCRIPT"}) {
        for (const std::string error :
             {"-NOPERM this user has no permissions", "-ERR unknown command", "-invalid request"}) {
            const FakeNode node = objecting_to(question, error);
            DrivenTransport driven{{node.uri()}, waits_long()};
            EXPECT_TRUE(driven.comes_up()) << question << ": " << error;
            EXPECT_EQ(node.accepted(), 1U);
        }
    }
}

// ---- the last reply before the connection ends ---------------------------------------------------------

const std::vector<std::string>& last_replies() {
    static const std::vector<std::string> list{"ERR max number of clients reached",
                                               "DENIED Redis is running in protected mode"};
    return list;
}

// The node's URI without a password and with one.
std::vector<std::string> uris_of(const FakeNode& node) {
    std::string with_password = node.uri();
    with_password.insert(with_password.find("://") + 3, ":secret@");
    return {node.uri(), with_password};
}

void expect_text(const std::string& uri, const std::string& text) {
    for (int i = 0; i < 10; ++i) {  // the end of the connection races with our login
        DrivenTransport driven{{uri}, waits_long()};
        ASSERT_FALSE(driven.comes_up());
        ASSERT_EQ(driven.downs.size(), 1U);
        EXPECT_EQ(driven.downs[0].vote, Vote::refused) << uri;
        EXPECT_EQ(driven.downs[0].text, text) << uri;
    }
}

TEST(ConnectionLogin, R29_what_a_server_says_before_it_hangs_up_is_the_reason) {
    for (const Family family : {Family::unix_socket, Family::tcp}) {
        for (const std::string& text : last_replies()) {
            FakeNode::Behaviour behaviour;
            behaviour.close_at_once = true;
            behaviour.greeting = "-" + text + "\r\n";
            const FakeNode node{behaviour, family};
            for (const std::string& uri : uris_of(node)) expect_text(uri, text);
        }
    }
}

TEST(ConnectionLogin, R29_also_in_answer_to_any_question) {
    for (const Family family : {Family::unix_socket, Family::tcp}) {
        for (const std::string& text : last_replies()) {
            for (const std::string question : {"INFO", "CLIENT", "SCRIPT"}) {
                if (question == "SCRIPT" && text.starts_with("ERR")) continue;  // login succeeds
                const FakeNode node = scripted_node(
                    [&](const Request& request) {
                        return says(request, question) ? Answer{"-" + text + "\r\n", true}
                                                       : agreeable_answer(request);
                    },
                    family);
                for (const std::string& uri : uris_of(node)) expect_text(uri, text);
            }
        }
    }
}

TEST(ConnectionLogin, R29_an_error_without_a_text_has_a_reason_too) {
    const FakeNode node = scripted_node([](const Request& request) {
        return says(request, "INFO") ? Answer{"-\r\n"} : agreeable_answer(request);
    });
    DrivenTransport driven{{node.uri()}, tries_often()};
    ASSERT_FALSE(driven.comes_up());
    EXPECT_EQ(driven.downs.at(0).vote, Vote::refused);
    EXPECT_EQ(driven.downs[0].text, "an error without a text");
}

TEST(ConnectionLogin, R29_also_in_life_to_nobodys_question) {
    for (const bool is_polled : {true, false}) {
        FakeNode node = agreeable_node();
        DrivenTransport driven{{node.uri()}, waits_long()};
        ASSERT_TRUE(driven.comes_up());
        node.push("-ERR idle for too long\r\n");
        node.close_connections();
        const auto has_noticed = [&] { return driven.connect() != redlock::detail::Sent::accepted; };
        if (is_polled) {
            ASSERT_TRUE(driven.poll_until([&] { return !driven.downs.empty(); }));
            EXPECT_EQ(driven.downs[0].text, "ERR idle for too long");
        } else {
            ASSERT_TRUE(eventually(patience, has_noticed));
        }
        EXPECT_EQ(driven.transport().fault(0).vote, Vote::refused);
        EXPECT_EQ(driven.transport().fault(0).text, "ERR idle for too long");
    }
}

TEST(ConnectionLogin, R31_the_error_of_a_server_does_not_repeat_user_and_password_and_is_short) {
    const FakeNode node = scripted_node([](const Request& request) -> Answer {
        if (!says(request, "AUTH")) return agreeable_answer(request);
        return {"-ERR no '" + request[1] + "' with '" + request[2] + "' " + std::string(1000, 'x') + "\r\n",
                true};
    });
    std::string uri = node.uri();
    uri.insert(uri.find("://") + 3, "somebody:correct-horse@");
    DrivenTransport driven{{uri}, waits_long()};
    ASSERT_FALSE(driven.comes_up());
    ASSERT_EQ(driven.downs.size(), 1U);
    EXPECT_TRUE(driven.downs[0].text.starts_with("ERR no ")) << driven.downs[0].text;
    EXPECT_EQ(driven.downs[0].text.find("horse"), std::string::npos) << driven.downs[0].text;
    EXPECT_EQ(driven.downs[0].text.find("somebody"), std::string::npos) << driven.downs[0].text;
    EXPECT_LE(driven.downs[0].text.size(), 256U);
}

// ---- scripts -------------------------------------------------------------------------------------------

// How scripts can be run on a node that answers EVALSHA and EVAL in this way.
redlock::detail::NodeInfo info_where(const std::string& evalsha, const std::string& eval) {
    const FakeNode node = agreeable_node({{"EVALSHA", evalsha + "\r\n"}, {"EVAL", eval + "\r\n"}});
    DrivenTransport driven{{node.uri()}, waits_long()};
    EXPECT_TRUE(driven.comes_up()) << evalsha << " " << eval;
    return driven.ups.empty() ? redlock::detail::NodeInfo{} : driven.ups[0];
}

TEST(ConnectionLogin, it_finds_out_how_scripts_can_be_run) {
    const std::string no = "-NOPERM this user has no permissions to run the command";
    const std::string unknown =
        "-ERR unknown command `EVAL`, with args beginning with: `return 1`, `0`, `-`, ";
    EXPECT_EQ(info_where(":1", ":1").scripts, Scripts::by_name);
    EXPECT_EQ(info_where("-NOSCRIPT No matching script.", ":1").scripts, Scripts::by_name);
    EXPECT_EQ(info_where("-OOM command not allowed", "-OOM command not allowed").scripts, Scripts::by_name);
    EXPECT_EQ(info_where(":1", no).scripts, Scripts::by_name);
    EXPECT_EQ(info_where(no, ":1").scripts, Scripts::by_text);
    EXPECT_EQ(info_where(unknown, ":1").scripts, Scripts::by_text);
    EXPECT_EQ(info_where(unknown, unknown).scripts, Scripts::never);
    EXPECT_EQ(info_where(no, no).scripts, Scripts::never);
    EXPECT_EQ(info_where(no, no).scripts_refusal, no.substr(1));
    const std::string about_keys = "-ERR at least one key is needed";
    EXPECT_EQ(info_where(about_keys, about_keys).scripts, Scripts::by_name) << "our scripts have keys";
}

// A proxy or a security filter may close the connection at a script.
TEST(ConnectionLogin, who_hangs_up_on_scripts_is_asked_no_more_of_them_and_is_in_use_at_once) {
    for (const std::string question : {"SCRIPT", "EVALSHA", "EVAL"}) {
        FakeNode node = scripted_node([&](const Request& request) {
            return says(request, question) ? Answer{"", true} : agreeable_answer(request);
        });
        DrivenTransport driven{{node.uri()}, waits_long()};
        ASSERT_TRUE(driven.comes_up()) << question;
        EXPECT_TRUE(driven.downs.empty());
        EXPECT_EQ(driven.ups[0].scripts, Scripts::by_name);
        EXPECT_EQ(node.accepted(), 2U);
        ASSERT_TRUE(driven.is_answered({"SET", "name", "token"}));
        node.close_connections();
        ASSERT_TRUE(driven.poll_until([&] { return driven.downs.size() == 1; }));
        ASSERT_TRUE(driven.comes_up());
        EXPECT_EQ(node.accepted(), 3U) << "it is known now";
    }
}

// ---- bounds --------------------------------------------------------------------------------------------

// hiredis 0.14 would allocate memory for them, which takes a second.
// A name may lead to one server, to another and back: what waits on the first connection must not run later.
TEST(ConnectionLogin, R20_the_connection_to_each_server_process_is_remembered) {
    hiredis::FormerConnections former;
    EXPECT_TRUE(former.empty());
    former.add({7, "one"});
    former.add({8, "two"});
    EXPECT_EQ(former.id_at("one"), 7);
    EXPECT_EQ(former.id_at("two"), 8);
    EXPECT_TRUE(former.was_last_at("two"));
    former.add({9, "one"});
    EXPECT_EQ(former.id_at("one"), 9);
    EXPECT_TRUE(former.was_last_at("one"));
    for (int i = 0; i < 100; ++i) former.add({100 + i, std::to_string(i)});
    EXPECT_EQ(former.id_at("one"), std::nullopt) << "not all for ever";
    former.add({1, ""});
    EXPECT_EQ(former.id_at(""), std::nullopt) << "it is not known which process that is";
}

// The bounds are those of one reply, however long the connection lasts.
TEST(ConnectionLogin, any_number_of_replies_is_read) {
    hiredis::ReplyReader reader;
    hiredis::ReplyPtr reply;
    std::string error;
    const std::string bytes = "$1000\r\n" + std::string(1000, 'x') + "\r\n*2\r\n:1\r\n:2\r\n";
    for (int i = 0; i < 5000; ++i) {
        reader.feed(bytes);
        ASSERT_EQ(reader.next(reply, error), hiredis::ReplyReader::Next::reply) << i << ": " << error;
        ASSERT_EQ(reader.next(reply, error), hiredis::ReplyReader::Next::reply) << i << ": " << error;
        ASSERT_EQ(reader.next(reply, error), hiredis::ReplyReader::Next::none) << i;
    }
}

TEST(ConnectionLogin, a_reply_with_more_elements_than_any_of_ours_is_refused) {
    for (const std::string reply :
         {"*100000000\r\n", "*2\r\n:1\r\n*100000000\r\n", "*2\r\n*4096\r\n*4096\r\n*4096\r\n"}) {
        for (const std::string question : {"SET", "INFO"}) {
            const FakeNode node = agreeable_node({{question, reply}});
            DrivenTransport driven{{node.uri()}, waits_long()};
            if (question == "SET") {
                ASSERT_TRUE(driven.comes_up());
                ASSERT_EQ(driven.send({"SET", "name", "token"}), redlock::detail::Sent::accepted);
            }
            static_cast<void>(driven.connect());
            ASSERT_TRUE(driven.poll_until([&] { return !driven.downs.empty(); }));
            EXPECT_EQ(driven.downs[0].vote, Vote::refused);
            EXPECT_NE(driven.downs[0].text.find("too many elements"), std::string::npos)
                << driven.downs[0].text;
        }
    }
}

TEST(ConnectionLogin, the_largest_reply_of_ours_is_taken_any_number_of_times) {
    std::string reply = "*1025\r\n";
    for (int i = 0; i < 1025; ++i) reply += ":9007199254740991\r\n";
    const FakeNode node = agreeable_node({{"SET", reply}});
    DrivenTransport driven{{node.uri()}, waits_long()};
    ASSERT_TRUE(driven.comes_up());
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(driven.is_answered({"SET", "name", "token"}));
}

}  // namespace
}  // namespace redlock::test
