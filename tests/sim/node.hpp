// SPDX-License-Identifier: Apache-2.0
// One server: its data, its wall clock, and its faults.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redlock/engine/transport.hpp"
#include "sim/clock.hpp"
#include "sim/model_redis.hpp"
#include "sim/plan.hpp"
#include "sim/timeline.hpp"

namespace redlock::sim {

class SimNode {
   public:
    SimNode(std::uint32_t index, Pace pace, const Instant& now) : now_{&now}, index_{index} {
        time_.pace = pace;
        started_us_ = time_.wall_us(*now_) - std::int64_t{400} * 86'400'000'000;
    }

    [[nodiscard]] ModelRedis& redis() noexcept { return redis_; }
    [[nodiscard]] std::int64_t wall_us() const noexcept { return time_.wall_us(*now_); }
    [[nodiscard]] bool is_up() const noexcept { return down_ == 0; }
    [[nodiscard]] Instant hung_until() const noexcept { return hung_until_; }

    /// When all locks that are kept now have expired.
    [[nodiscard]] Instant last_expiry() {
        Instant last = *now_;
        for (const ModelStore::Entry& entry : redis_.entries_at(wall_us())) {
            if (ModelStore::is_counter(entry) || ModelStore::is_queue(entry)) continue;
            const std::int64_t left_us = (entry.expires_ms + 1) * 1000 - wall_us();
            last = std::max(last, *now_ + std::chrono::microseconds{left_us + left_us / 8});
        }
        return last;
    }

    [[nodiscard]] detail::NodeInfo info(bool hides_run_id) const {
        detail::NodeInfo info;
        if (hides_run_id) return info;  // INFO is forbidden, so the role is unknown too
        info.is_master = !is_replica();
        info.run_id = "node" + std::to_string(index_) + "run" + std::to_string(run_);
        // As servers report it: the difference of two truncated seconds.
        info.uptime = std::chrono::seconds{in_seconds(wall_us()) - in_seconds(started_us_)};
        return info;
    }

    /// `write_refusal`: what its writes are refused with, where they are.
    ModelReply execute(ModelRedis::Words words, std::string_view write_refusal = {}) {
        constexpr std::string_view read_only = "READONLY You can't write against a read only replica.";
        redis_.permit({*now_ >= no_channels_until_, *now_ >= no_queues_until_});
        if (*now_ < refuses_until_) {
            const Refusal& refusal = refusals[refusal_count_++ % refusals.size()];
            if (!refusal.is_of_writes) return ModelReply::error(std::string{refusal.text});
            write_refusal = refusal.text;
        }
        return redis_.execute(words, wall_us(), is_replica() ? read_only : write_refusal);
    }
    /// False: it is not permitted.
    bool subscribe(std::uint32_t subscriber, std::string_view channel) {
        redis_.permit({*now_ >= no_channels_until_, *now_ >= no_queues_until_});
        return redis_.subscribe(subscriber, channel);
    }
    // ---- faults ------------------------------------------------------------------------------------

    void hang(Instant until) noexcept { hung_until_ = std::max(hung_until_, until); }
    void refuse(Instant until) noexcept { refuses_until_ = std::max(refuses_until_, until); }
    void demote(Instant until) noexcept { replica_until_ = std::max(replica_until_, until); }
    void forbid_channels(Instant until) noexcept { no_channels_until_ = std::max(no_channels_until_, until); }
    void forbid_queues(Instant until) noexcept { no_queues_until_ = std::max(no_queues_until_, until); }
    void set_clock_by(std::chrono::microseconds amount) noexcept { time_.set_by += amount; }

    /// Crashes may overlap: it is up again after the last of them.
    void go_down() noexcept {
        ++down_;
        hung_until_ = Instant{0};
    }
    void come_back() noexcept {
        if (--down_ == 0) be_replaced();
    }
    /// Another process serves the same data.
    void be_replaced() noexcept {
        ++run_;
        started_us_ = wall_us();
        redis_.forget_scripts();
    }

   private:
    [[nodiscard]] bool is_replica() const noexcept { return *now_ < replica_until_; }

    /// Temporary errors, one after another. Some are of writes alone: a script gets as far as to its first.
    struct Refusal {
        std::string_view text;
        bool is_of_writes;
    };
    static constexpr std::array<Refusal, 4> refusals{
        {{"LOADING Redis is loading the dataset in memory", false},
         {"BUSY Redis is busy running a script", false},
         {"NOREPLICAS Not enough good replicas to write.", true},
         {"MISCONF Errors writing to the AOF file", true}}};

    [[nodiscard]] static std::int64_t in_seconds(std::int64_t wall_us) noexcept {
        return wall_us / 1'000'000;  // after 1970
    }

    ModelRedis redis_;
    NodeTime time_;
    const Instant* now_;
    std::uint32_t index_;
    std::uint32_t run_ = 0;
    int down_ = 0;
    std::int64_t started_us_ = 0;
    Instant hung_until_{0};
    Instant refuses_until_{0};
    Instant no_channels_until_{0};
    Instant no_queues_until_{0};
    Instant replica_until_{0};
    std::size_t refusal_count_ = 0;
};

/// The first of the nodes without this key and value; -1: there is none. Those that never vote do not count.
[[nodiscard]] inline std::int64_t first_without(std::vector<SimNode>& nodes, const Wiring& wiring,
                                                std::string_view key, std::string_view value) {
    for (std::size_t n = 0; n < nodes.size(); ++n) {
        if (wiring.is_useless(n)) continue;
        const auto& entries = nodes[n].redis().entries_at(nodes[n].wall_us());
        const bool has = std::any_of(entries.begin(), entries.end(), [&](const ModelStore::Entry& entry) {
            return entry.key == key && entry.value == value;
        });
        if (!has) return static_cast<std::int64_t>(n);
    }
    return -1;
}

/// "extend" and the like, for the timeline.
[[nodiscard]] inline std::string_view name_of(ModelRedis::Words words) noexcept {
    if (!words[0].starts_with("EVAL") || words.size() < 2) return words[0];
    const auto is = [&](const detail::Script& script) {
        return words[1] == script.text || words[1] == detail::sha1_of(script);
    };
    if (is(detail::acquire_script) || is(detail::fenced_acquire_script)) return "acquire";
    if (is(detail::commit_script)) return "commit";
    if (is(detail::adopt_script)) return "adopt";
    if (is(detail::extend_script)) return "extend";
    if (is(detail::put_back_script)) return "put back";
    if (is(detail::enlist_script)) return "enlist";
    if (is(detail::delist_script)) return "delist";
    return is(detail::release_script) ? "release" : "unknown script";
}

[[nodiscard]] inline std::string_view token_of(ModelRedis::Words words) noexcept {
    if (words[0] == "SET") return words[2];
    for (const std::string_view word : words.subspan(std::min<std::size_t>(2, words.size()))) {
        if (word.size() == 40) return word;
    }
    return "";
}

[[nodiscard]] inline std::string text_of(const ModelReply& reply) {
    using Kind = ModelReply::Kind;
    if (reply.kind == Kind::nil) return "nil";
    if (reply.kind == Kind::integer) return std::to_string(reply.integer);
    if (reply.kind != Kind::array) return reply.text;
    std::string text = "[";
    for (const std::int64_t element : reply.elements) text.append(" ").append(std::to_string(element));
    return text.append(" ]");
}

}  // namespace redlock::sim
