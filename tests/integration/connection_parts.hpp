// SPDX-License-Identifier: Apache-2.0
// A transport alone, without the algorithm: the test hands over the requests and receives the events.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/hiredis/transport.hpp"
#include "redlock/voting/command.hpp"
#include "support/eventually.hpp"
#include "support/fake_node.hpp"

namespace redlock::test {

using namespace std::chrono_literals;

// One transport and all its events.
class DrivenTransport final : private redlock::detail::TransportEvents {
   public:
    struct Down {
        Vote vote;
        std::string text;
    };

    explicit DrivenTransport(const std::vector<std::string>& uris, Options options = {})
        : transport_{endpoints(uris), options} {}

    hiredis::Transport& transport() { return transport_; }
    redlock::detail::Sent connect() { return transport_.connect(0); }
    redlock::detail::Sent send(std::initializer_list<std::string_view> arguments) {
        redlock::detail::RequestWriter writer{arguments.size()};
        for (const std::string_view argument : arguments) writer.arg(argument);
        return transport_.send(0, std::move(writer).take());
    }
    void poll(std::chrono::nanoseconds timeout = 2ms) { EXPECT_TRUE(transport_.poll(*this, timeout)); }

    template <class Predicate>
    [[nodiscard]] bool poll_until(Predicate&& predicate, std::chrono::nanoseconds longest = patience) {
        const auto deadline = std::chrono::steady_clock::now() + longest;
        while (!predicate()) {
            if (std::chrono::steady_clock::now() >= deadline) return predicate();
            poll();
        }
        return true;
    }
    // Polls for that long, and calls `between` between the polls.
    void poll_for(
        std::chrono::nanoseconds time, const std::function<void()>& between = [] {}) {
        static_cast<void>(poll_until([&] { return between(), false; }, time));
    }
    [[nodiscard]] bool comes_up() {
        const auto before = ups.size();
        static_cast<void>(connect());
        return poll_until([&] { return ups.size() > before || (ups.empty() && !downs.empty()); }) &&
               !ups.empty();
    }
    [[nodiscard]] bool is_answered(std::initializer_list<std::string_view> arguments) {
        const auto before = replies.size();
        return send(arguments) == redlock::detail::Sent::accepted &&
               poll_until([&] { return replies.size() > before; });
    }

    std::vector<redlock::detail::NodeInfo> ups;
    std::vector<Down> downs;
    std::vector<std::string> replies;  // their texts
    std::vector<std::string> messages;
    std::function<void()> when_up = [] {};
    std::function<void()> when_down = [] {};

   private:
    static std::vector<Endpoint> endpoints(const std::vector<std::string>& uris) {
        return {uris.begin(), uris.end()};
    }

    void on_waiting() override {}
    bool on_awake() override { return true; }
    void on_reply(std::size_t, const redlock::detail::Reply& reply) override {
        replies.emplace_back(reply.text);
    }
    void on_up(std::size_t, const redlock::detail::NodeInfo& info) override {
        ups.push_back(info);
        when_up();
    }
    void on_down(std::size_t, const redlock::detail::Fault& fault) override {
        downs.push_back({fault.vote, std::string{fault.text}});
        when_down();
    }
    void on_message(std::size_t, std::string_view payload) override { messages.emplace_back(payload); }

    hiredis::Transport transport_;
};

// A backoff so long that a test sees whether there was one at all.
[[nodiscard]] inline Options waits_long() {
    Options options;
    options.reconnect_min = options.reconnect_max = 1h;
    return options;
}

// The shortest backoff.
[[nodiscard]] inline Options tries_often() {
    Options options;
    options.reconnect_min = options.reconnect_max = 1ms;
    return options;
}

[[nodiscard]] inline bool says(const Request& request, std::string_view first, std::string_view second = {}) {
    return !request.empty() && request[0] == first &&
           (second.empty() || (request.size() > 1 && request[1] == second));
}

}  // namespace redlock::test
