// SPDX-License-Identifier: Apache-2.0
// The simulated server against a real one: what each says in a login, and of requests that it refuses.
#include "sim/deep/server.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "sim/plan.hpp"
#include "support/eventually.hpp"
#include "support/redis_client.hpp"
#include "support/redis_server.hpp"
#include "support/socket.hpp"

namespace redlock::sim::deep {
namespace {

using Command = std::vector<std::string>;

/// Kind and code of a reply; numbers and status texts as they are.
std::string shape_of(const test::Reply& reply) {
    using Kind = test::Reply::Kind;
    switch (reply.kind) {
        case Kind::nil: return "nil";
        case Kind::status: return "+" + reply.text;
        case Kind::error: return "-" + reply.text.substr(0, reply.text.find(' '));
        case Kind::integer: return ":" + std::to_string(reply.integer);
        case Kind::string: return "text";
        case Kind::array: return "array of " + std::to_string(reply.elements.size());
    }
    return "?";
}
std::string shape_of(std::string_view bytes) {
    const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
    switch (line[0]) {
        case '-': return std::string{line.substr(0, line.find(' '))};
        case '$': return line == "$-1" ? "nil" : "text";
        case '*': return "array of " + std::string{line.substr(1)};
        default: return std::string{line};
    }
}

/// One server of each sort, and a connection to each.
class Pair {
   public:
    explicit Pair(Wiring how = {}, test::ServerOptions real = {},
                  Wiring::Denied denied = Wiring::Denied::nothing)
        : wiring{std::move(how)},
          server{node, wiring, denied, false, now, Random{1, 1}},
          session{server.accept(0)},
          real_server{std::move(real)} {}

    [[nodiscard]] test::RedisClient connect() const {
        return test::RedisClient{test::Address::unix_path(real_server.socket_path())};
    }

    [[nodiscard]] std::string modelled(const Command& command) {
        const std::vector<std::string_view> words{command.begin(), command.end()};
        return server.answer(session, words).bytes;
    }

    /// Whether both say the same to each of these.
    void compare(test::RedisClient& client, const std::vector<Command>& commands) {
        for (const Command& command : commands) {
            const test::Reply reply = client.query(command);
            std::string wanted = shape_of(reply);
            std::string got = shape_of(modelled(command));
            if (command[0] == "CLIENT" && command[1] == "ID") wanted = got = wanted.substr(0, 1);
            EXPECT_EQ(got, wanted) << command[0] << " "
                                   << (command.size() > 1 ? command[1].substr(0, 20) : "")
                                   << "\nRedis: " << reply << "\nmodel: " << modelled(command);
        }
    }

    Instant now{0};
    SimNode node{0, Pace{}, now};
    Wiring wiring;
    Server server;
    Session session;
    test::RedisServer real_server;
};

const Command& load_release() {
    static const Command command{"SCRIPT", "LOAD", std::string{detail::release_script.text}};
    return command;
}
Command by_name(const detail::Script& script, const Command& rest) {
    Command command{"EVALSHA", std::string{detail::sha1_of(script)}};
    command.insert(command.end(), rest.begin(), rest.end());
    return command;
}
Command by_text(const detail::Script& script, const Command& rest) {
    Command command{"EVAL", std::string{script.text}};
    command.insert(command.end(), rest.begin(), rest.end());
    return command;
}

const std::vector<Command>& login() {
    static const std::vector<Command> commands{
        {"INFO", "server"},
        {"INFO", "replication"},
        {"CLIENT", "ID"},
        {"CLIENT", "SETNAME", "billing"},
        {"SELECT", "1"},
        by_name(detail::release_script, {"0", "-"}),
        load_release(),
        by_name(detail::release_script, {"0", "-"}),
        {"EVAL", "return 1", "0", "-"},
    };
    return commands;
}
/// An acquire by either way, an extension, a release; of what is not there and of what is.
const std::vector<Command>& requests() {
    static const std::vector<Command> commands{
        {"SET", "red", "mine", "NX", "PX", "60000"},
        {"SET", "red", "mine", "NX", "PX", "60000"},
        by_text(detail::acquire_script, {"1", "blue", "mine", "60000"}),
        by_text(detail::extend_script, {"1", "red", "mine", "70000"}),
        by_text(detail::release_script, {"1", "red", "mine"}),
        by_text(detail::release_script, {"1", "blue", "mine"}),
    };
    return commands;
}

TEST(ServerAgainstRedis, a_login_is_answered_alike) {
    Pair both;
    auto client = both.connect();
    both.compare(client, {{"AUTH", "secret"}, {"AUTH", "user", "secret"}});
    both.compare(client, login());
    both.compare(client, requests());
    both.compare(client, {{"NONSENSE", "with", "arguments"}});
}

TEST(ServerAgainstRedis, what_info_says_has_the_same_fields) {
    Pair both;
    auto client = both.connect();
    for (const char* field : {"\r\nrun_id:", "\r\nuptime_in_seconds:"}) {
        EXPECT_NE(client.query({"INFO", "server"}).text.find(field), std::string::npos);
        EXPECT_NE(both.modelled({"INFO", "server"}).find(field), std::string::npos);
    }
    for (const bool is_replica : {false, true}) {
        const std::string role = is_replica ? "\r\nrole:slave\r\n" : "\r\nrole:master\r\n";
        if (is_replica) client.query({"REPLICAOF", "127.0.0.1", "1"});
        if (is_replica) both.node.demote(never);
        EXPECT_NE(client.query({"INFO", "replication"}).text.find(role), std::string::npos);
        EXPECT_NE(both.modelled({"INFO", "replication"}).find(role), std::string::npos);
    }
}

TEST(ServerAgainstRedis, who_has_not_logged_in_is_refused_alike) {
    for (const std::string user : {"", "worker"}) {
        test::ServerOptions options;
        if (user.empty()) options.password = "right";
        if (!user.empty()) options.users = {"worker on >right ~* &* +@all", "default off"};
        Pair both{Wiring{.user = user, .password = "right"}, options};
        auto client = both.connect();
        const auto auth = [&](const char* password) {
            return user.empty() ? Command{"AUTH", password} : Command{"AUTH", user, password};
        };
        both.compare(client, login());
        both.compare(client, requests());
        both.compare(client, {auth("wrong"), {"SELECT", "1"}, auth("right")});
        both.compare(client, login());
        both.compare(client, requests());
    }
}

TEST(ServerAgainstRedis, what_is_not_permitted_is_refused_alike) {
    using Denied = Wiring::Denied;
    const std::vector<std::pair<Denied, const char*>> all{{Denied::client, "-client"},
                                                          {Denied::script_load, "-script"},
                                                          {Denied::evalsha, "-evalsha"},
                                                          {Denied::select, "-select"},
                                                          {Denied::scripts, "-eval -evalsha"}};
    for (const auto& [denied, rule] : all) {
        SCOPED_TRACE(rule);
        test::ServerOptions options;
        options.users = {"worker on >right ~* &* +@all " + std::string{rule}, "default off"};
        Pair both{Wiring{.user = "worker", .password = "right"}, options, denied};
        auto client = both.connect();
        both.compare(client, {{"AUTH", "worker", "right"}});
        both.compare(client, login());
        both.compare(client, requests());
    }
}

TEST(ServerAgainstRedis, a_replica_refuses_the_same) {
    Pair both;
    auto client = both.connect();
    client.query({"REPLICAOF", "127.0.0.1", "1"});
    both.node.demote(never);
    both.compare(client, login());
    both.compare(client, requests());
}

TEST(ServerAgainstRedis, one_without_enough_replicas_refuses_the_same) {
    Pair both;
    auto client = both.connect();
    client.query({"CONFIG", "SET", "min-replicas-to-write", "1"});
    both.server.refuse(Server::Refusal::no_replicas, never);
    both.compare(client, login());
    both.compare(client, requests());
}

TEST(ServerAgainstRedis, one_without_memory_refuses_the_same) {
    Pair both;
    auto client = both.connect();
    both.compare(client, {requests()[0], requests()[2]});
    client.query({"CONFIG", "SET", "maxmemory", "1"});
    both.server.refuse(Server::Refusal::out_of_memory, never);
    both.compare(client, login());
    both.compare(client, {{"SELECT", "0"}});
    both.compare(client, {requests()[0], requests()[2], requests()[3], requests()[4]});
}

TEST(ServerAgainstRedis, one_that_runs_a_script_refuses_the_same) {
    Pair both;
    auto client = both.connect();
    auto busy = both.connect();
    client.query({"CONFIG", "SET", "lua-time-limit", "1"});
    std::jthread script{[&] { static_cast<void>(busy.query({"EVAL", "while true do end", "0"})); }};
    ASSERT_TRUE(test::eventually(test::patience, [&] { return client.query({"GET", "x"}).is_error(); }));
    both.server.refuse(Server::Refusal::busy, never);
    both.compare(client, login());
    both.compare(client, requests());
    client.query({"SCRIPT", "KILL"});
}

TEST(ServerAgainstRedis, who_is_turned_away_is_told_the_same) {
    test::RedisServer server;
    server.query({"CONFIG", "SET", "maxclients", "1"});
    const test::FileDescriptor client = test::connect_to(test::Address::unix_path(server.socket_path()));
    std::string heard;
    char letter = 0;
    const bool is_told = test::eventually(test::patience, [&] {
        while (::read(client.get(), &letter, 1) == 1) heard.push_back(letter);
        return heard.ends_with("\r\n");
    });
    EXPECT_TRUE(is_told);
    EXPECT_EQ(heard, "-ERR max number of clients reached\r\n");
}

}  // namespace
}  // namespace redlock::sim::deep
