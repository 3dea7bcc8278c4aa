// SPDX-License-Identifier: Apache-2.0
// URIs of nodes: valid ones, malformed ones, and the parts that must never be shown.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "redlock/endpoint.hpp"

namespace redlock {
namespace {

std::string complaint_about(const std::string& uri) {
    try {
        const Endpoint endpoint{uri};
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

TEST(Endpoint, tcp_with_everything_left_out) {
    const Endpoint node{"redis://example.com"};
    EXPECT_EQ(node.scheme(), Endpoint::Scheme::tcp);
    EXPECT_EQ(node.host(), "example.com");
    EXPECT_EQ(node.port(), 6379);
    EXPECT_EQ(node.db(), 0U);
    EXPECT_TRUE(node.user().empty());
    EXPECT_TRUE(node.password().empty());
    EXPECT_EQ(node.display(), "redis://example.com:6379");
}

TEST(Endpoint, tcp_with_everything_there) {
    const Endpoint node{std::string{"redis://alice:s%40crét%2F@Redis-1.Example.com:6380/15"}};
    EXPECT_EQ(node.user(), "alice");
    EXPECT_EQ(node.password(), "s@crét/");
    EXPECT_EQ(node.host(), "redis-1.example.com");
    EXPECT_EQ(node.port(), 6380);
    EXPECT_EQ(node.db(), 15U);
    EXPECT_EQ(node.display(), "redis://redis-1.example.com:6380/15");
}

TEST(Endpoint, a_password_alone_is_the_default_users) {
    const Endpoint node{"redis://:secret@h"};
    EXPECT_TRUE(node.user().empty());
    EXPECT_EQ(node.password(), "secret");
}

TEST(Endpoint, a_password_may_hold_what_else_separates) {
    EXPECT_EQ(Endpoint{"redis://u:a@b@h"}.password(), "a@b");
    EXPECT_EQ(Endpoint{"redis://u:a/b@h/3"}.password(), "a/b");
    EXPECT_EQ(Endpoint{"redis://u:a/b@h/3"}.db(), 3U);
    EXPECT_EQ(Endpoint{"redis://u:a:b@h:1"}.password(), "a:b");
    EXPECT_EQ(Endpoint{"redis://u:%25%3f%23@h"}.password(), "%?#");
}

TEST(Endpoint, ipv4_and_ipv6) {
    EXPECT_EQ(Endpoint{"redis://127.0.0.1:7000"}.host(), "127.0.0.1");
    const Endpoint node{"redis://u:p@[2001:db8::1]:7000/2"};
    EXPECT_EQ(node.host(), "2001:db8::1");
    EXPECT_EQ(node.port(), 7000);
    EXPECT_EQ(node.display(), "redis://[2001:db8::1]:7000/2");
    EXPECT_EQ(Endpoint{"redis://[::1]"}.port(), 6379);
}

TEST(Endpoint, unix_sockets) {
    const Endpoint node{"unix:///run/redis/a%20b.sock?db=7"};
    EXPECT_EQ(node.scheme(), Endpoint::Scheme::unix_socket);
    EXPECT_EQ(node.path(), "/run/redis/a b.sock");
    EXPECT_EQ(node.db(), 7U);
    EXPECT_EQ(node.display(), "unix:///run/redis/a b.sock?db=7");
    const Endpoint guarded{"unix://alice:pw@/run/redis.sock"};
    EXPECT_EQ(guarded.user(), "alice");
    EXPECT_EQ(guarded.password(), "pw");
    EXPECT_EQ(guarded.path(), "/run/redis.sock");
    EXPECT_EQ(Endpoint{"unix:///tmp/x@y.sock"}.path(), "/tmp/x@y.sock");
}

TEST(Endpoint, edges_of_ports_and_databases_and_paths) {
    EXPECT_EQ(Endpoint{"redis://h:1"}.port(), 1);
    EXPECT_EQ(Endpoint{"redis://h:65535"}.port(), 65535);
    EXPECT_EQ(Endpoint{"redis://h/"}.db(), 0U);
    EXPECT_EQ(Endpoint{"unix:///" + std::string(106, 'a')}.path().size(), 107U);
}

TEST(Endpoint, every_malformed_uri_is_named_and_explained) {
    const std::vector<std::pair<std::string, std::string>> bad = {
        {"", "begin with"},
        {"localhost", "begin with"},
        {"localhost:6379", "begin with"},
        {"http://localhost", "begin with"},
        {"REDIS://localhost", "begin with"},
        {"redis:/localhost", "begin with"},
        {"redis//localhost", "begin with"},
        {" redis://localhost", "begin with"},
        {"redis://", "host is missing"},
        {"redis://:6379", "host is missing"},
        {"redis:///3", "host is missing"},
        {"redis://u:p@", "host is missing"},
        {"redis://h:", "port"},
        {"redis://h:0", "port"},
        {"redis://h:65536", "port"},
        {"redis://h:-1", "port"},
        {"redis://h:+1", "port"},
        {"redis://h:6379x", "port"},
        {"redis://h: 6379", "blank"},
        {"redis://us er:p@h", "%20"},
        {"redis://u:pa ss@h", "%20"},
        {"redis://u:p\t@h", "control character"},
        {"redis://u:p\x7F@h", "control character"},
        {"redis://h;", "a host has"},
        {"redis://a;b", "a host has"},
        {"redis://a|b", "a host has"},
        {"redis://a\\b", "a host has"},
        {"redis://a%20b", "a host has"},
        {"unix:///a b", "%20"},
        {"redis://h:99999999999999999999", "port"},
        {"redis://h/x", "db"},
        {"redis://h/-1", "db"},
        {"redis://h/1/2", "db"},
        {"redis://h/1000001", "db"},
        {"redis://h?db=1", "'?'"},
        {"redis://h#1", "'#'"},
        {"redis://a b", "blank"},
        {"redis://h\r\n", "blank"},
        {"redis://::1", "[]"},
        {"redis://[::1", "]"},
        {"redis://[::1]6379", "']'"},
        {"redis://[localhost]", "IPv6"},
        {"redis://u@h", "password"},
        {"redis://u:@h", "password"},
        {"redis://@h", "password"},
        {"redis://u:%@h", "hex"},
        {"redis://u:%4@h", "hex"},
        {"redis://u:%zz@h", "hex"},
        {"redis://u:%00@h", "%00"},
        {"rediss://h", "TLS"},
        {"unix://", "absolute"},
        {"unix://relative.sock", "absolute"},
        {"unix://u:p@relative.sock", "absolute"},
        {"unix:///a?x=1", "db=n"},
        {"unix:///a?db=", "db"},
        {"unix:///a?db=x", "db"},
        {"unix:///%4", "hex"},
        {"unix:///" + std::string(107, 'a'), "107"},
    };
    for (const auto& [uri, reason] : bad) {
        const std::string complaint = complaint_about(uri);
        const std::string scheme = uri.find("://") != std::string::npos ? uri.substr(0, uri.find(':')) : "";
        EXPECT_NE(complaint.find(scheme == " redis" ? "bad URI '***" : "bad URI '" + scheme),
                  std::string::npos)
            << uri << ": " << complaint;
        EXPECT_NE(complaint.find(reason), std::string::npos) << uri << ": " << complaint;
    }
    EXPECT_NE(complaint_about(std::string{"redis://a\0b", 11}), "");
}

// R31: whatever the password looks like, and whatever is wrong with the URI.
TEST(Endpoint, what_is_shown_of_it_breaks_no_line) {
    const Endpoint node{"unix:///tmp/a%0Ab%C2%85c\u2028d"};
    EXPECT_EQ(node.path(),
              "/tmp/a\nb\xC2\x85"
              "c\u2028d");
    EXPECT_EQ(node.display(), R"(unix:///tmp/a\x0ab\xc2\x85c\xe2\x80\xa8d)");
}

TEST(Endpoint, a_password_is_in_no_message_and_in_no_display) {
    for (const char* uri :
         {"redis://alice:hunter2@", "redis://alice:hunter2@h:x", "redis://:hunter2@h/x", "redis://:hunter2@",
          "redis://alice:hunter2%@h", "redis://alice:hun@hunter2@h:0", "unix://alice:hunter2@x",
          "unix://alice:hunter2@/a?db=x", "redis://alice:hunter2?@h", "rediss://alice:hunter2@h",
          "http://alice:hunter2@h", "alice:hunter2@h", "redis://alice:hunter2@[::1", "redis:/:hunter2@h",
          // without the '@'
          "redis://:hunter2", "redis://alice:hunter2", "redis://alice:hunter2/0", "redis://:/hunter2",
          "redis://:x/hunter2", "redis://[:hunter2]", "redis://[a:hunter2", "redis://[::1]hunter2",
          "redis://127.0.0.1:hunter2", "redis://localhost:6379:hunter2", "redis://localhost/hunter2",
          "unix://:hunter2/path", "unix://hunter2/path", "alice:hunter2", "hunter2", ":hunter2",
          "hunter2://h", "redis:alice:hunter2", "rediss://alice:hunter2", "http://alice:hunter2",
          // in a query, with every character that a password may hold
          "redis://h?password=hunter2", "redis://h:1/0?user=alice&password=hunter2",
          "redis://h?password=hun@hunter2", "redis://h#hunter2", "unix:///a?password=hunter2",
          "unix:///a?password=x@/hunter2", "unix:///a?db=hunter2"}) {
        const std::string complaint = complaint_about(uri);
        EXPECT_FALSE(complaint.empty()) << uri;
        EXPECT_EQ(complaint.find("hunter2"), std::string::npos) << complaint;
    }
    for (const char* uri : {"redis://alice:12345678", "redis://:hun/12345678", "redis://h/12345678"}) {
        EXPECT_EQ(complaint_about(uri).find("12345678"), std::string::npos) << complaint_about(uri);
    }
    EXPECT_EQ(complaint_about("redis://:hun/ter2").find("ter2"), std::string::npos);
    EXPECT_EQ(Endpoint{"redis://alice:hunter2@h"}.display(), "redis://h:6379");
    EXPECT_EQ(Endpoint{"unix://alice:hunter2@/a"}.display(), "unix:///a");
}

TEST(Endpoint, what_is_certainly_a_host_is_shown_so_that_one_finds_the_uri) {
    const std::vector<std::pair<std::string, std::string>> bad = {
        {"redis://alice:hunter2@redis-1.example:x", "'redis://***@redis-1.example'"},
        {"redis://redis-1.example/x", "'redis://redis-1.example'"},
        {"redis://redis-1.example?db=1", "'redis://redis-1.example'"},
        {"redis://redis-1.example:x", "'redis://***'"},
        {"redis://localhost:x", "'redis://localhost'"},
        {"redis://10.0.0.1:x", "'redis://10.0.0.1'"},
        {"redis://[2001:db8::1]:x", "'redis://[2001:db8::1]'"},
        {"REDIS://h", "'REDIS://h'"},
        {"unix:///run/a.sock?x", "'unix:///run/a.sock'"},
        {"unix://alice:pw@/run/a.sock?x", "'unix://***'"},
        {"alice:hunter2@h", "'***@h'"},
        {"localhost:6379", "'localhost'"},
        {"redis-1.example:6379", "'***'"},
    };
    for (const auto& [uri, shown] : bad) {
        EXPECT_NE(complaint_about(uri).find("bad URI " + shown + ": "), std::string::npos)
            << complaint_about(uri);
    }
}

// A comma in a password splits it, and either half is as secret as the whole.
TEST(Endpoint, a_list_that_a_password_splits_shows_no_part_of_it) {
    const auto complaint_about_list = [](const auto& list) -> std::string {
        try {
            const Endpoints endpoints(list);
        } catch (const std::invalid_argument& error) {
            return error.what();
        }
        return {};
    };
    for (const char* list :
         {"redis://alice:hun,ter2@h", "redis://alice:1,ter2@h", "redis://alice:1,ter2,hun@h",
          "redis://alice:1,ter2", "redis://alice:1,ter2:hun", "redis://alice:1,ter2://hun@h",
          "redis://alice:1,:ter2/0@h", "redis://:hun,ter2@h", "redis://alice:hun,ter2@h,redis://b"}) {
        const std::string complaint = complaint_about_list(list);
        EXPECT_NE(complaint, "") << list;
        EXPECT_EQ(complaint.find("hun"), std::string::npos) << complaint;
        EXPECT_EQ(complaint.find("ter2"), std::string::npos) << complaint;
    }
    const std::string complaint = complaint_about_list("redis://alice:1,ter2@h,redis://b");
    EXPECT_NE(complaint.find("redlock: node 2 of 3: bad URI '***@h': "), std::string::npos) << complaint;
    EXPECT_NE(complaint.find("a comma within a URI is written %2C"), std::string::npos) << complaint;
    EXPECT_NE(complaint_about_list(std::vector{"redis://a", "redis://b:x"}).find("node 2 of 2: "),
              std::string::npos);
    try {
        const Endpoints endpoints{"redis://a", "redis://b", "redis://:x"};
        ADD_FAILURE();
    } catch (const std::invalid_argument& error) {
        EXPECT_NE(std::string{error.what()}.find("node 3 of 3: "), std::string::npos) << error.what();
    }
    EXPECT_EQ((Endpoints{Endpoint{"redis://a"}, "redis://b"}.list().size()), 2U);
    EXPECT_EQ(Endpoints{"redis://alice:1%2Cter2@h"}.list().front().password(), "1,ter2");
}

// With a login, all but the last would be taken for its password, and two nodes for one.
TEST(Endpoint, a_list_with_other_separators_is_refused_and_the_comma_named) {
    for (const char* separator : {";", " ", "; ", "\n", "\t", "|", " | ", "+", "&", ""}) {
        for (const std::string first : {"redis://a", "redis://u:hunter2@a", "redis://a:1", "redis://a/1",
                                        "unix:///a", "unix://u:hunter2@/a", "redis://[::1]"}) {
            for (const char* second :
                 {"redis://b", "redis://u:hunter2@b", "unix:///b", "unix://u:hunter2@/b"}) {
                const std::string list = first + separator + second;
                std::string complaint;
                try {
                    const Endpoints endpoints{list};
                } catch (const std::invalid_argument& error) {
                    complaint = error.what();
                }
                EXPECT_NE(complaint.find("commas between them"), std::string::npos)
                    << list << ": " << complaint;
                EXPECT_EQ(complaint.find("hunter2"), std::string::npos) << complaint;
            }
        }
    }
    EXPECT_EQ(Endpoints{"redis://u:a;b%20c%3A//d@h"}.list().front().password(), "a;b c://d");
}

TEST(Endpoint, one_server_is_recognised_whatever_the_login_and_the_db) {
    const Endpoint node{"redis://h:6379"};
    EXPECT_TRUE(node.same_server(Endpoint{"redis://u:p@H/3"}));
    EXPECT_FALSE(node.same_server(Endpoint{"redis://h:6380"}));
    EXPECT_FALSE(node.same_server(Endpoint{"redis://h2"}));
    EXPECT_TRUE(Endpoint{"unix:///a"}.same_server(Endpoint{"unix:///a?db=1"}));
    EXPECT_FALSE(Endpoint{"unix:///a"}.same_server(Endpoint{"unix:///b"}));
}

}  // namespace
}  // namespace redlock
