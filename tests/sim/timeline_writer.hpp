// SPDX-License-Identifier: Apache-2.0
// Writes what happens in a scenario as a timeline, and decides how long messages take there.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/descriptions.hpp"
#include "sim/hooks.hpp"
#include "sim/network.hpp"

namespace redlock::sim {

class TimelineWriter final : public Hooks {
   public:
    /// The timeline begins at `zero`; nothing before that is written.
    TimelineWriter(const Instant& now, Instant zero, std::int64_t fence_base)
        : now_{now}, zero_{zero}, names_{fence_base} {
        for (auto& delays : delays_) delays.fill(Instant{0});
    }

    // ---- in place of draws -------------------------------------------------------------------------

    /// One way, between a client and a node, from now on.
    void set_delay(const Ends& ends, Instant delay) { delays_[ends.client][ends.node] = delay; }

    [[nodiscard]] Instant delay_of(const Ends& ends, const Message& /*message*/) override {
        return delays_[ends.client][ends.node];
    }

    /// Tokens and channels are all different. Four bytes are a fraction, of the bound of a delay: a half.
    void fill(std::span<unsigned char> bytes) override {
        constexpr unsigned char half = 128;
        std::fill(bytes.begin(), bytes.end(), static_cast<unsigned char>(0));
        bytes.back() = bytes.size() == Token::byte_count ? ++last_token_ : half;
    }

    // ---- what happens ------------------------------------------------------------------------------

    [[nodiscard]] ShortNames& names() noexcept { return names_; }
    [[nodiscard]] std::string time_of(Instant at) const { return in_ms(at - zero_); }
    [[nodiscard]] static std::string in_ms(Instant length) {
        char text[32];
        std::snprintf(text, sizeof text, "%.1f", static_cast<double>(length.count()) / 1e6);
        return text;
    }

    /// Something that a client does or learns.
    void note(std::uint32_t client, std::string text) {
        add({now_, Side::client, client, {}, std::move(text)});
    }
    /// A fault that begins or ends.
    void note_fault(std::string text) { add({now_, Side::fault, 0, {}, std::move(text)}); }
    /// Comes after all events until then; comments are given in order of time.
    void comment(Instant at, std::string text) { comments_.push_back({at, std::move(text)}); }
    /// From now on nothing is written.
    void stop() noexcept { is_stopped_ = true; }

    void on_sent(const Ends& ends, const Message& message) override {
        const auto write = [&](std::string text) {
            add({now_, Side::to_node, ends.client, {ends.node}, std::move(text)});
        };
        if (message.kind == Message::Kind::hello) {
            const bool is_subscriber = !message.bytes.empty();
            if (is_subscriber) subscribers_.insert(ends.connection);
            write(is_subscriber ? "subscribe" : "connect");
        }
        if (message.kind != Message::Kind::request) return;
        std::string_view stream = message.bytes;
        std::vector<std::string_view> parts;
        while (take_request(stream, parts)) write(text_of(Request{parts}, names_));
    }

    void on_executed(const Ends& ends, SimNode& node, ModelRedis::Words parts,
                     const ModelReply& reply) override {
        const Request request{parts};
        add({now_, Side::node, 0, {ends.node}, effect_of(request, ends.client, node, reply, names_)});
        votes_[ends.connection].push_back(vote_of(request, reply, names_));
    }

    void on_arrived(const Ends& ends, const Message& message) override {
        const auto write = [&](std::string text) {
            add({now_, Side::to_client, ends.client, {ends.node}, std::move(text)});
        };
        switch (message.kind) {
            case Message::Kind::welcome:
                return write(subscribers_.count(ends.connection) > 0 ? "subscribed" : "connected");
            case Message::Kind::notice: return write("notified: it is free");
            case Message::Kind::reset: return write("the connection is closed");
            case Message::Kind::reply: {
                auto& votes = votes_[ends.connection];
                if (!votes.front().empty()) write(std::move(votes.front()));
                return votes.pop_front();
            }
            default: return;
        }
    }

    // ---- the timeline ------------------------------------------------------------------------------

    [[nodiscard]] std::string text() const {
        std::string all = columns("ms", "who", "what");
        std::size_t comment = 0;
        for (std::size_t i = 0; i < lines_.size(); ++i) {
            all += rendered(lines_[i]);
            const bool is_last_of_instant = i + 1 == lines_.size() || lines_[i + 1].at > lines_[i].at;
            if (!is_last_of_instant) continue;
            for (; comment < comments_.size(); ++comment) {
                const bool is_later = i + 1 < lines_.size() && comments_[comment].at >= lines_[i + 1].at;
                if (is_later) break;
                all += "          | " + comments_[comment].text + "\n";
            }
        }
        return all;
    }

   private:
    enum class Side : std::uint8_t { client, node, to_node, to_client, fault };

    struct Line {
        Instant at;
        Side side;
        std::uint32_t client;
        std::vector<std::uint32_t> nodes;
        std::string text;

        [[nodiscard]] bool is_alike(const Line& other) const {
            return at == other.at && side == other.side && client == other.client && text == other.text;
        }
    };
    struct Comment {
        Instant at;
        std::string text;
    };

    /// What is sent to several nodes, or by them, at one time is one line.
    void add(Line line) {
        if (now_ < zero_ || is_stopped_) return;
        for (auto other = lines_.rbegin(); other != lines_.rend() && other->at == line.at; ++other) {
            if (line.nodes.empty() || !other->is_alike(line)) continue;
            const std::uint32_t node = line.nodes.front();
            const bool is_new = std::count(other->nodes.begin(), other->nodes.end(), node) == 0;
            if (is_new) other->nodes.push_back(node);
            std::sort(other->nodes.begin(), other->nodes.end());
            return;
        }
        lines_.push_back(std::move(line));
    }

    [[nodiscard]] static std::string columns(const std::string& time, const std::string& who,
                                             const std::string& what) {
        char start[64];
        std::snprintf(start, sizeof start, "%8s  %-17s ", time.c_str(), who.c_str());
        return start + what + "\n";
    }

    [[nodiscard]] std::string rendered(const Line& line) const {
        const std::string client = ShortNames::client(line.client);
        std::string nodes;
        for (const std::uint32_t node : line.nodes) {
            nodes.append(nodes.empty() ? "n" : " n").append(std::to_string(node + 1));
        }
        std::string who = "***";
        if (line.side == Side::client) who = client;
        if (line.side == Side::node) who = nodes;
        if (line.side == Side::to_node) who = client + " -> " + nodes;
        if (line.side == Side::to_client) who = nodes + " -> " + client;
        return columns(time_of(line.at), who, line.text);
    }

    const Instant& now_;
    Instant zero_;
    ShortNames names_;
    std::array<std::array<Instant, Plan::nodes_max>, Plan::clients_max> delays_{};
    unsigned char last_token_ = 0;
    std::set<std::uint32_t> subscribers_;                     ///< connections
    std::map<std::uint32_t, std::deque<std::string>> votes_;  ///< on their way, per connection
    std::vector<Line> lines_;
    std::vector<Comment> comments_;
    bool is_stopped_ = false;
};

}  // namespace redlock::sim
