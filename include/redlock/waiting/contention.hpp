// SPDX-License-Identifier: Apache-2.0
// Waiting for a resource: in the queue of this process, and then in that of the nodes.
//
// Of all who wait for a resource in one Redlock, one contends on the network. It has itself put into a
// queue on every node, and the release calls the first of the queue. A call may be lost, the holder may
// crash, or be a client that calls nobody: behind every sleep stands a time to look again.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/retry.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/waiting/queue_report.hpp"

namespace redlock::inline v0_1::detail {

template <class Transport, class Clock>
class Contention {
   public:
    using EngineType = Engine<Transport, Clock>;
    using ProtocolType = Protocol<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using LeasePtr = typename ProtocolType::LeasePtr;
    using ClaimPtr = typename ProtocolType::ClaimPtr;
    using SuspendedPtr = typename EngineType::SuspendedPtr;
    using TimeBudget = detail::TimeBudget<TimePoint>;
    using Timing = typename ProtocolType::Timing;

    Contention(EngineType& engine, ProtocolType& protocol) : engine_{engine}, protocol_{protocol} {}
    Contention(const Contention&) = delete;
    Contention& operator=(const Contention&) = delete;
    ~Contention() = default;

    /// Attempts until one succeeds, the wait is over or a stop is requested.
    Task<Result<LeasePtr>> acquire(ClaimPtr claim, LockOptions how, Call* call) {
        const TimeBudget span{engine_.now(), std::min(how.wait, ages), engine_.options().node_timeout,
                              engine_.options().connect_timeout};
        if (how.wait.count() == 0) {
            Timing timing{span.end(), span.connect_by()};
            co_return co_await protocol_.acquire(claim, how.ttl, timing, std::nullopt, call);
        }
        if (co_await engine_.next_turn(call) == Verdict::cancelled) co_return cancelled(*claim, 0);
        Waiter waiter{*this, claim, engine_.wall_us(), span};
        take_yield(waiter);
        Result<LeasePtr> result = co_await contend(waiter, std::move(how), call);
        if (!result) result.error().add_details(waiter.queue_texts);
        co_return result;
    }

    /// As the protocol does; and a waiter of this process may have its attempt right behind it.
    Task<Result<void>> release(LeasePtr lease, Unconnected unconnected) {
        if (waiters_count_.load(std::memory_order_relaxed) > 0) {
            co_await engine_.next_turn(nullptr);
            hand_over(*lease);
        }
        bool has_notified = false;
        const TimePoint started = engine_.now();
        Result<void> result = co_await protocol_.release(lease, &has_notified, unconnected);
        if (has_notified) {  // by a driver: it has waited for replies
            const TimePoint now = engine_.now();
            yields_[place_of(*lease->claim)] = {now - started, now + 4 * (now - started) + yield_min};
        }
        co_return result;
    }

    /// The lease is held elsewhere from now on: whoever waits for it here has to ask the nodes. False: it
    /// must not be handed on, or it was not held; what may be left of it is released then.
    Task<bool> detach(LeasePtr lease) {
        const std::optional<Hold> before = lease->begin_hand_over(engine_.now());
        if (!before || before == Hold::released) co_return false;
        co_await engine_.next_turn(nullptr);
        hand_over(*lease);
        if (before == Hold::lost) {
            protocol_.clean_up(*lease);
            co_return false;
        }
        lease->keys->is_unwanted = true;  // what was not sent yet comes too late for us
        co_return true;
    }

    void on_notice(std::size_t node, std::string_view payload) {
        std::uint64_t number = 0;
        const char* end = payload.data() + payload.size();
        const auto [stop, error] = std::from_chars(payload.data(), end, number);
        if (error != std::errc{} || stop == end || *stop != ' ') return;
        const auto entry = numbers_.find(number);
        if (entry == numbers_.end()) return;  // it has left the queue, which passed the call on
        Waiter& waiter = *entry->second;
        if (!waiter.is_enlisted || waiter.notified_by[node]) return;
        waiter.notified_by[node] = true;
        ++waiter.notices;
        const SuspendedPtr sleep = waiter.sleep;
        if (!sleep || sleep->decided) return;
        if (waiter.notices >= quorum_of(engine_.size())) return engine_.resume(*sleep);
        // The other nodes' calls follow; where their queues are in another order, not.
        engine_.resume_by(*sleep, engine_.now() + waiter.round);
    }

    /// Subscriptions that nobody has needed for a while are given up.
    void on_turn() {
        if (!yields_.empty() || !silent_holders_.empty()) {
            const TimePoint now = engine_.now();
            std::erase_if(yields_,
                          [&](const auto& entry) { return (now - entry.second.until).count() >= 0; });
            std::erase_if(silent_holders_,
                          [&](const auto& entry) { return (now - entry.second).count() >= 0; });
        }
        if (!is_listening_ || !queues_.empty() || engine_.now() - idle_since_ < idle_max) return;
        is_listening_ = false;
        engine_.transport().listen({});
    }

   private:
    static constexpr unsigned handovers_max = 16;  // in a row, then those elsewhere come first
    static constexpr unsigned hurries_max = 8;     // in a row, then by the retry policy
    static constexpr std::chrono::nanoseconds grace = std::chrono::microseconds{100};
    static constexpr std::chrono::nanoseconds idle_max = std::chrono::seconds{10};

    static constexpr std::chrono::nanoseconds lateness = std::chrono::milliseconds{1};  // of a timer
    static constexpr std::chrono::nanoseconds yield_min = std::chrono::milliseconds{1};
    static constexpr std::chrono::nanoseconds first_look = std::chrono::milliseconds{250};
    static constexpr std::int64_t staggered_max = 32;  // those behind look at the same time
    static constexpr int silence_lasts = 10;           // times the longest sleep

    struct Waiter;

    /// Whoever has just released what others were called for does not snatch it from them.
    struct Yield {
        std::chrono::nanoseconds round{0};
        TimePoint until{};
    };

    /// The waiters of this process for one claim. There is none where nobody waits.
    struct Queue {
        std::deque<Waiter*> waiters;  ///< the first contends
        LeasePtr held;                ///< what the one before them got, while they wait for it
        /// When the first attempt of theirs began that no quorum answered; none: it answered the last one.
        std::optional<TimePoint> silent_since{};
        unsigned handovers = 0;
        std::size_t aside = 0;  ///< how many more there are, who decide whether to go on
    };

    /// One who waits, from its first attempt to its last. The driver's.
    struct Waiter {
        Contention& room;
        ClaimPtr claim;
        TimeBudget span;
        std::string place;
        std::uint64_t number;
        std::int64_t since;             ///< its place in the nodes' queues
        SuspendedPtr sleep;             ///< while it sleeps
        std::vector<bool> notified_by;  ///< the nodes that have called it since it last tried
        std::size_t notices = 0;
        bool is_enlisted = false;
        bool must_yield = false;                 ///< lets those who wait elsewhere try before it
        unsigned hurries = 0;                    ///< tries at once since it was last seen to be held
        std::chrono::nanoseconds round{0};       ///< how long its last attempt took that a quorum answered
        std::optional<std::size_t> lead;         ///< the node that its next attempt asks first
        std::vector<bool> silent;                ///< the nodes that did not answer when asked first
        std::vector<std::string> queue_texts{};  ///< why it could not line up, per node
        std::optional<QueueReport> report;       ///< when it lined up last
        bool was_notified = false;               ///< since then
        std::chrono::nanoseconds pace;           ///< when it looks again though nobody calls

        Waiter(Contention& owner, ClaimPtr what, std::int64_t since_us, const TimeBudget& time)
            : room{owner},
              claim{std::move(what)},
              span{time},
              place{place_of(*claim)},
              number{++room.last_number_},
              since{since_us},
              notified_by(owner.engine_.size()),
              silent(owner.engine_.size()),
              pace{first_look} {
            Queue& queue = room.queues_[place];
            queue.waiters.push_back(this);
            room.numbers_.emplace(number, this);
            room.waiters_count_.fetch_add(1, std::memory_order_relaxed);
        }
        Waiter(const Waiter&) = delete;
        Waiter& operator=(const Waiter&) = delete;
        ~Waiter() { room.leave(*this); }

        [[nodiscard]] Queue& queue() { return room.queues_.find(place)->second; }
        [[nodiscard]] bool is_first() { return queue().waiters.front() == this; }
        /// When its last attempt begins.
        [[nodiscard]] TimePoint last_start() const { return span.last_start(round); }

        [[nodiscard]] SuspendedPtr sleep_until(TimePoint when) {
            sleep = std::make_shared<Suspended<TimePoint>>(when);
            return sleep;
        }
    };

    /// While its user decides whether it goes on, which may take long and may want the same resource, others
    /// of this process come before it. In a driver's turn.
    class Aside {
       public:
        explicit Aside(Waiter& waiter) : waiter_{waiter}, queue_{waiter.queue()} {
            auto& waiters = queue_.waiters;
            waiters.erase(std::find(waiters.begin(), waiters.end(), &waiter_));
            ++queue_.aside;
            if (!waiters.empty()) waiter_.room.resume(*waiters.front());
        }
        Aside(const Aside&) = delete;
        Aside& operator=(const Aside&) = delete;
        ~Aside() {
            --queue_.aside;
            auto& waiters = queue_.waiters;
            waiters.insert(waiters.empty() ? waiters.end() : waiters.begin() + 1, &waiter_);
        }

       private:
        Waiter& waiter_;
        Queue& queue_;
    };

    [[nodiscard]] static std::string place_of(const Claim& claim) {
        std::string place;  // a name may have any byte
        for (const std::string& resource : claim.resources) {
            place.append(std::to_string(resource.size())).append(":").append(resource);
        }
        return place;
    }

    // ---- in this process ---------------------------------------------------------------------------

    /// The next of the queue comes first.
    void leave(Waiter& waiter) {
        delist(waiter);
        waiters_count_.fetch_sub(1, std::memory_order_relaxed);
        numbers_.erase(waiter.number);
        const auto entry = queues_.find(waiter.place);
        auto& waiters = entry->second.waiters;
        const bool was_first = waiters.front() == &waiter;
        waiters.erase(std::find(waiters.begin(), waiters.end(), &waiter));
        if (waiters.empty() && entry->second.aside == 0) {
            queues_.erase(entry);
            if (queues_.empty()) {
                idle_since_ = engine_.now();
                if (is_listening_) engine_.remind(idle_since_ + idle_max);
            }
        } else if (was_first && !waiters.empty()) {
            resume(*waiters.front());
        }
    }

    void take_yield(Waiter& waiter) {
        const auto entry = yields_.find(waiter.place);
        if (entry == yields_.end()) return;
        waiter.must_yield = engine_.now() - entry->second.until < std::chrono::nanoseconds{0};
        waiter.round = entry->second.round;
        yields_.erase(entry);
    }

    void resume(Waiter& waiter) {
        if (const SuspendedPtr sleep = waiter.sleep) engine_.resume(*sleep);
    }

    /// Before a release is sent: the first of this process that waits for the same is woken. It hops, so
    /// that its attempt comes behind the release, on the same connections.
    void hand_over(const Lease<TimePoint>& lease) {
        const auto entry = queues_.find(place_of(*lease.claim));
        if (entry == queues_.end()) return;
        Queue& queue = entry->second;
        queue.held.reset();
        if (queue.waiters.empty()) return;
        Waiter& first = *queue.waiters.front();
        first.must_yield = ++queue.handovers % handovers_max == 0;
        resume(first);
    }

    /// Attempts, whenever it is the first of this process.
    Task<Result<LeasePtr>> contend(Waiter& waiter, LockOptions how, Call* call) {
        const Claim& claim = *waiter.claim;
        const TimeBudget& span = waiter.span;
        std::optional<Failure> last;
        for (std::uint32_t attempt = 1;; ++attempt) {
            std::optional<Failure> over = co_await come_first(waiter, how, call);
            if (over) co_return last&&* over != errc::cancelled ? *std::move(last) : *std::move(over);
            if (co_await outwait_own(waiter, call)) {
                last = Failure{errc::contended, "this process itself holds " + protocol_.describe(claim)};
                last->set_attempts(attempt - 1);
            }
            if (std::exchange(waiter.must_yield, false)) co_await yield_to_remote(waiter, call);
            if (co_await engine_.next_turn(call) == Verdict::cancelled)
                co_return cancelled(claim, attempt - 1);
            const TimePoint started = engine_.now();
            if (last && span.is_over(started)) co_return *std::move(last);
            Timing timing{span.end(), span.connect_by()};
            Result<LeasePtr> result =
                co_await protocol_.acquire(waiter.claim, how.ttl, timing, waiter.lead, call);
            delist(waiter);
            if (result) {
                waiter.queue().held = *result;
                co_return result;
            }
            result.error().set_attempts(attempt);
            if (last && result.error() == errc::unreachable && span.end() - started < span.node_timeout) {
                last->set_attempts(attempt);  // cut short, it says nothing of the nodes
                co_return *std::move(last);
            }
            last = result.error();
            note(waiter, *last, started, timing.took);
            if (is_too_long_unreachable(waiter, how)) co_return result;
            const auto next = co_await next_attempt(waiter, how, *last, attempt, call);
            if (!next) co_return result;
            if (waiter.notices >= quorum_of(engine_.size())) continue;
            // [15] a random delay desynchronises those who try at the same time
            const Verdict verdict = co_await engine_.suspend(waiter.sleep_until(*next), call);
            waiter.sleep.reset();
            if (verdict == Verdict::cancelled) co_return cancelled(claim, attempt, last->nodes());
        }
    }

    /// Until it is the first of this process that waits for it. A Failure: its wait is over before.
    Task<std::optional<Failure>> come_first(Waiter& waiter, const LockOptions& how, Call* call) {
        while (!waiter.is_first()) {
            const TimePoint until =
                first_of(waiter.last_start(), patience_end(waiter, how).value_or(waiter.last_start()));
            const Verdict verdict = co_await engine_.suspend(waiter.sleep_until(until), call);
            if (verdict == Verdict::cancelled) co_return cancelled(*waiter.claim, 0);
            if (waiter.is_first()) break;
            if (is_too_long_unreachable(waiter, how)) {
                co_return Failure{errc::unreachable,
                                  "no quorum answers those of this process that wait for " +
                                      protocol_.describe(*waiter.claim)};
            }
            if ((engine_.now() - waiter.last_start()).count() >= 0) {
                co_return Failure{errc::contended,
                                  "others of this process wait for " + protocol_.describe(*waiter.claim)};
            }
        }
        co_return std::nullopt;
    }

    /// While a lease of this process has it no node need be asked; whose end may come nearer meanwhile. True:
    /// there was one.
    Task<bool> outwait_own(Waiter& waiter, Call* call) {
        bool has_waited = false;
        while (const LeasePtr held = waiter.queue().held) {
            const TimePoint now = engine_.now();
            const std::chrono::nanoseconds left = held->remaining(now);
            if (left.count() <= 0 || (now - waiter.last_start()).count() >= 0) {
                waiter.queue().held.reset();
                break;
            }
            has_waited = true;
            const std::chrono::nanoseconds nap = std::min<std::chrono::nanoseconds>(left, longest_delay());
            const TimePoint until = first_of(now + nap, waiter.last_start());
            const Verdict verdict = co_await engine_.suspend(waiter.sleep_until(until), call);
            if (verdict == Verdict::cancelled) break;
        }
        co_return has_waited;
    }

    /// After an attempt that failed.
    void note(Waiter& waiter, const Failure& failure, TimePoint started, std::chrono::nanoseconds took) {
        waiter.lead = lead_after(failure, *waiter.claim, waiter.lead, waiter.silent);
        Queue& queue = waiter.queue();
        if (failure != errc::unreachable) {
            waiter.round = took;
            queue.silent_since.reset();
        } else if (!queue.silent_since) {
            queue.silent_since = started;
            for (Waiter* behind : queue.waiters) resume(*behind);  // it is theirs to put up with, too
        }
    }

    /// When the nodes will have been silent for too long; none: they are not silent, or it never is.
    [[nodiscard]] std::optional<TimePoint> patience_end(Waiter& waiter, const LockOptions& how) const {
        const auto since = waiter.queue().silent_since;
        if (!since || how.wait_unreachable == forever) return std::nullopt;
        return std::max(*since, waiter.span.began) + std::min(how.wait_unreachable, ages);
    }
    [[nodiscard]] bool is_too_long_unreachable(Waiter& waiter, const LockOptions& how) const {
        const auto end = patience_end(waiter, how);
        return end && (engine_.now() - *end).count() >= 0;
    }

    /// By the retry policy; later where somebody calls. None: no further attempt.
    Task<std::optional<TimePoint>> next_attempt(Waiter& waiter, const LockOptions& how,
                                                const Failure& failure, std::uint32_t attempt, Call* call) {
        std::optional<std::chrono::nanoseconds> delay;
        const auto ask = [&] {
            delay = delay_after(engine_.options().retry, failure, attempt, waiter.round,
                                [this] { return draw_fraction(); });
        };
        if (engine_.options().retry.decide) {
            const Aside aside{waiter};
            co_await engine_.on_caller(call, ask);
        } else {
            ask();
        }
        const auto by_policy = waiter.span.next_attempt(delay, waiter.round, engine_.now());
        if (!by_policy) co_return std::nullopt;
        TimePoint next = *by_policy;
        if (failure == errc::contended && waiter.is_first()) next = co_await enlist(waiter, next, call);
        if (waiter.notices > 0) next = first_of(next, engine_.now() + waiter.round);
        co_return first_of(next, patience_end(waiter, how).value_or(next));
    }

    /// Lets those who wait elsewhere try first, and lines up behind them.
    Task<bool> yield_to_remote(Waiter& waiter, Call* call) {
        const TimePoint yielded = engine_.now() + waiter.round + grace;
        co_await engine_.suspend(waiter.sleep_until(first_of(yielded, waiter.last_start())), call);
        const TimePoint again = co_await enlist(waiter, engine_.now(), call);
        if (waiter.notices == 0) co_await engine_.suspend(waiter.sleep_until(again), call);
        co_return true;
    }

    // ---- on the nodes ------------------------------------------------------------------------------

    [[nodiscard]] std::chrono::nanoseconds longest_delay() const { return engine_.options().retry.cap; }

    /// No sleep of one who may be called is longer.
    [[nodiscard]] std::chrono::milliseconds longest_sleep() const {
        return std::max<std::chrono::milliseconds>(std::chrono::seconds{1}, 4 * engine_.options().retry.cap);
    }

    /// Into the nodes' queues, unless it is free by now. Returns when to look again at the latest; without
    /// the queues that is `next`.
    Task<TimePoint> enlist(Waiter& waiter, TimePoint next, Call* call) {
        if (waiter.claim->queues.empty()) co_return next;
        const Verdict heard = co_await subscribed(waiter, next, call);
        if (heard != Verdict::carried) co_return heard == Verdict::timed_out ? next : engine_.now();
        const TimePoint started = engine_.now();
        renumber(waiter);
        const TimePoint deadline = first_of(started + engine_.options().node_timeout, waiter.last_start());
        const auto round = engine_.make_round(
            enlist_command(*waiter.claim, name_of(waiter), waiter.since, 2 * longest_sleep()), started,
            deadline);
        waiter.is_enlisted = true;
        waiter.notices = 0;
        waiter.notified_by.assign(waiter.notified_by.size(), false);
        const Verdict verdict = co_await engine_.verdict_of(round, call);
        waiter.queue_texts.clear();
        for (const Ballot& ballot : round->ballots) {
            waiter.queue_texts.push_back(ballot.vote == Vote::refused ? ballot.text : std::string{});
        }
        if (verdict == Verdict::carried) {
            waiter.hurries = 0;
            look_out(waiter, queue_report_of(*round, longest_sleep()));
            co_return first_of(look_again(waiter, started, next), waiter.last_start());
        }
        // Nobody can hold it by now: at once. It need not be to be had, though (a node may answer this and
        // not vote): not for ever.
        const bool is_free = round->tally.denied() > engine_.size() - round->tally.quorum();
        if (is_free && ++waiter.hurries <= hurries_max) co_return engine_.now();
        co_return next;
    }

    /// Listens; carried when a quorum of the nodes can call, timed_out when not in time: for the next time
    /// then. Any other verdict: it was woken, or is cancelled.
    Task<Verdict> subscribed(Waiter& waiter, TimePoint next, Call* call) {
        listen();
        const TimePoint limit = first_of(next, engine_.now() + engine_.options().node_timeout);
        std::chrono::nanoseconds nap = lateness;
        while (engine_.transport().listening() < quorum_of(engine_.size())) {
            const TimePoint now = engine_.now();
            if ((now - limit).count() >= 0) co_return Verdict::timed_out;
            const TimePoint until = first_of(limit, now + std::exchange(nap, 2 * nap));
            const Verdict verdict = co_await engine_.suspend(waiter.sleep_until(until), call);
            if (verdict != Verdict::timed_out) co_return Verdict::cancelled;
        }
        co_return Verdict::carried;
    }

    /// Whether those who hold it call who waits.
    void look_out(Waiter& waiter, QueueReport report) {
        const bool was_notified = std::exchange(waiter.was_notified, false);
        if (waiter.report && !was_notified &&
            holder_has_changed(*waiter.report, report, quorum_of(engine_.size()))) {
            silent_holders_[waiter.place] = engine_.now() + silence_lasts * longest_sleep();
        }
        waiter.report = std::move(report);
    }

    /// When the first of the waits in this process ends.
    [[nodiscard]] static TimePoint first_end(Waiter& waiter) {
        TimePoint end = waiter.last_start();
        for (const Waiter* other : waiter.queue().waiters) end = first_of(end, other->last_start());
        return end;
    }

    /// At the end of the holder's lease, and one after the other there; or before that, in case it was given
    /// up without a call: soon, and then less and less often, but again while there is time left for those
    /// who wait behind it; by the retry policy where such holders were seen, or where the policy is the
    /// user's own.
    [[nodiscard]] TimePoint look_again(Waiter& waiter, TimePoint started, TimePoint by_policy) {
        const std::int64_t before = std::min(waiter.report->rank, staggered_max);
        const TimePoint at_end =
            started + (waiter.report->free_in + 2 * lateness + before * (waiter.round + lateness));
        TimePoint anyway = by_policy;
        if (!engine_.options().retry.decide && !silent_holders_.contains(waiter.place)) {
            const std::chrono::nanoseconds half = -(started - first_end(waiter)) / 2;
            anyway = started + std::min(waiter.pace, std::max(half, first_look));
            waiter.pace = std::min<std::chrono::nanoseconds>(2 * waiter.pace, longest_sleep());
        }
        return first_of(at_end, anyway);
    }

    /// A new number for every time it is put into the queues: who leaves late must not take out who came
    /// back since.
    void renumber(Waiter& waiter) {
        numbers_.erase(waiter.number);
        waiter.number = ++last_number_;
        numbers_.emplace(waiter.number, &waiter);
    }

    /// Out of the nodes' queues, after each attempt and at the end; a call that it had and did not use goes
    /// to the next one there.
    void delist(Waiter& waiter) {
        if (!std::exchange(waiter.is_enlisted, false)) return;
        waiter.was_notified = waiter.was_notified || waiter.notices > 0;
        waiter.notices = 0;
        const TimePoint now = engine_.now();
        engine_.post(engine_.make_round(delist_command(*waiter.claim, name_of(waiter)), now, now));
    }

    void listen() {
        if (channel_.empty()) {
            std::array<unsigned char, Token::byte_count> bytes{};
            engine_.transport().random(bytes);
            channel_ = "redlock:" + Token{bytes}.str();
        }
        is_listening_ = true;
        engine_.transport().listen(channel_);
    }

    [[nodiscard]] std::string name_of(const Waiter& waiter) const {
        return channel_ + " " + std::to_string(waiter.number);
    }

    // ---- parts -------------------------------------------------------------------------------------

    /// After a split vote everybody asks the same node first, and one gets past it.
    [[nodiscard]] std::optional<std::size_t> lead_after(const Failure& failure, const Claim& claim,
                                                        const std::optional<std::size_t>& lead,
                                                        std::vector<bool>& silent) {
        const auto& nodes = failure.nodes();
        const auto voted = [&](Vote vote) {
            return std::any_of(nodes.begin(), nodes.end(),
                               [vote](const NodeReport& node) { return node.vote == vote; });
        };
        if (lead && nodes[*lead].vote == Vote::timeout) silent[*lead] = true;
        const bool is_split = voted(Vote::granted) && voted(Vote::denied);
        const bool was_silent = lead && silent[*lead];
        return is_split || was_silent ? engine_.lead_for(claim.resources.front(), silent) : std::nullopt;
    }

    /// From 0 to 1.
    [[nodiscard]] double draw_fraction() const {
        std::array<unsigned char, 4> bytes{};
        engine_.transport().random(bytes);
        double fraction = 0;
        for (const unsigned char byte : bytes) fraction = (fraction + byte) / 256;
        return fraction;
    }

    [[nodiscard]] static Failure cancelled(const Claim& claim, std::uint32_t attempts,
                                           std::vector<NodeReport> nodes = {}) {
        Failure failure{errc::cancelled, ProtocolType::describe(claim), std::move(nodes)};
        failure.set_attempts(attempts);
        return failure;
    }

    EngineType& engine_;
    ProtocolType& protocol_;
    std::atomic<std::size_t> waiters_count_{0};

    // the driver's
    std::map<std::string, Queue> queues_;
    std::map<std::uint64_t, Waiter*> numbers_;
    std::map<std::string, Yield> yields_;
    std::map<std::string, TimePoint>
        silent_holders_;  ///< places whose holders were seen to call nobody, and until when
    std::uint64_t last_number_ = 0;
    std::string channel_;
    bool is_listening_ = false;
    TimePoint idle_since_{};
};

}  // namespace redlock::inline v0_1::detail
