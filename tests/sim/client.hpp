// SPDX-License-Identifier: Apache-2.0
// One client process: the library's engine, protocol, contention and renewer, and the workers that use them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/algorithm/adoption.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/round_factory.hpp"
#include "redlock/renewal/renewer.hpp"
#include "redlock/waiting/contention.hpp"
#include "sim/handovers.hpp"
#include "sim/history.hpp"
#include "sim/relay.hpp"

namespace redlock::sim {

template <class Floor>
class SimClient final : private detail::Upcalls<SimClock::time_point>,
                        private detail::LeaseEvents<SimClock::time_point> {
   public:
    using Network = typename Floor::Network;
    using Transport = typename Floor::Transport;
    using Engine = detail::Engine<Transport, SimClock>;
    using TimePoint = SimClock::time_point;
    template <class T>
    using Task = detail::Task<T>;

    SimClient(Network& network, History& history, HandOvers& handovers, std::uint32_t index)
        : network_{network},
          history_{history},
          handovers_{handovers},
          plan_{network.plan()},
          index_{index},
          time_{make_time()},
          engine_{std::make_unique<Transport>(network, index, time_), SimClock{time_}, plan_.options},
          rounds_{engine_},
          protocol_{engine_, rounds_, *this},
          adoption_{engine_, rounds_},
          contention_{engine_, protocol_},
          renewer_{engine_, protocol_, *this} {
        engine_.set_upcalls(this);
    }
    SimClient(const SimClient&) = delete;
    SimClient& operator=(const SimClient&) = delete;

    // ---- its work ----------------------------------------------------------------------------------

    void start_working() {
        for (std::uint32_t w = 0; w < plan_.worker_count[index_]; ++w) {
            start(work(Random{plan_.seed, 200 + index_ * 10 + w}));
        }
    }
    /// After the faults have stopped: acquires the lock within the time that this may take.
    void start_proving_progress(milliseconds bound) { start(prove_progress(bound)); }
    /// Acquires the lock that the others wait for, and releases it.
    void start_holding() { start(hold()); }
    void start_letting_go(Relay& relay) { start(pass_on(kept_, relay)); }
    [[nodiscard]] bool is_holding() const noexcept { return kept_ != nullptr; }
    void start_waiting_for_turns(Relay& relay) {
        for (std::uint32_t w = 0; w < plan_.worker_count[index_]; ++w) start(wait_for_turn(relay));
    }

    /// Acquires a lock of its own until the key is on every node.
    void start_proving_service(milliseconds bound) { start(prove_service(bound)); }
    /// What is still to be proven; -1: nothing.
    [[nodiscard]] std::int64_t unserved_by() const noexcept { return unserved_by_; }
    /// Whether no work is left for any node.
    [[nodiscard]] bool is_settled() const { return engine_.is_settled(); }

    [[nodiscard]] bool is_done() const {
        return is_crashed_ || std::all_of(workers_.begin(), workers_.end(),
                                          [](const Worker& worker) { return worker.is_done; });
    }
    [[nodiscard]] bool is_crashed() const noexcept { return is_crashed_; }
    [[nodiscard]] bool has_progressed() const noexcept { return has_progressed_; }

    /// Whether a key with this token may be left behind.
    [[nodiscard]] bool has_excuse_for(const std::string& token) const {
        const auto has = [&](const std::vector<std::string>& list) {
            return std::find(list.begin(), list.end(), token) != list.end();
        };
        return has(abandoned_) || (is_crashed_ && has(transport().tokens()));
    }

    // ---- driving -----------------------------------------------------------------------------------

    /// Does all the work that can be done now.
    void step() {
        if (is_crashed_ || network_.now() < paused_until_) return;
        if (transport().is_stopped_in_flush()) transport().go_on();
        constexpr int enough = 10'000;
        int turns = 0;
        do {
            transport().set_driven(is_driven());
            cancel_due();
            if (is_keeping_) static_cast<void>(renewer_.run_due());
            engine_.take_turn();
            if (is_keeping_) renewer_due_ = renewer_.run_due();
        } while (transport().take_wants_turn() && ++turns < enough);
        if (turns == enough) history_.report(Property::running, "a driver never comes to wait");
        if (transport().is_stopped_in_flush()) pause(pause_mid_send_);
        history_.look_at(index_);
    }

    /// When step() must be called even if nothing arrives.
    [[nodiscard]] Instant next_wake() const {
        if (is_crashed_) return never;
        if (network_.now() < paused_until_) return paused_until_;
        Instant next = is_driven() ? transport().next_timer() : never;
        if (const auto timer = engine_.next_timer()) next = std::min(next, true_time(*timer));
        if (renewer_due_) next = std::min(next, true_time(*renewer_due_));
        for (const ActiveCall& active : calls_) {
            if (active.cancel_at) next = std::min(next, true_time(*active.cancel_at));
        }
        return next;
    }

    /// The time for which the world has scheduled a wake-up.
    Instant wake_at = never;

    // ---- faults ------------------------------------------------------------------------------------

    void pause(std::chrono::nanoseconds length) {
        const Instant until = network_.now() + length;
        if (until <= paused_until_) return;
        const Instant from = std::max(network_.now(), paused_until_);
        paused_total_ += time_.at(until) - time_.at(from);
        paused_until_ = until;
    }
    void pause_after_next_send(std::chrono::nanoseconds length) {
        pause_mid_send_ = length;
        transport().pause_after_next_send();
    }
    void set_wall_clock_by(std::int64_t amount_us) noexcept { time_.wall_skew_us += amount_us; }
    void calm_down() {
        transport().calm_down();
        paused_until_ = std::min(paused_until_, network_.now());
    }
    void crash(Farewell farewell) {
        is_crashed_ = true;
        transport().hang_up_all(farewell);
    }

    /// The world ends: brings every coroutine to its end.
    void end() {
        is_over_ = true;
        is_crashed_ = false;
        paused_until_ = Instant{0};
        transport().shut();
        constexpr int enough = 64;
        for (int i = 0; i < enough; ++i) {
            for (const ActiveCall& active : calls_) engine_.cancel(*active.call);
            time_.skipped += std::chrono::hours{1};
            engine_.take_turn();
        }
    }

   private:
    /// As long as a call blocks its thread.
    class Blocked {
       public:
        explicit Blocked(std::size_t& count) : count_{count} { ++count_; }
        Blocked(const Blocked&) = delete;
        Blocked& operator=(const Blocked&) = delete;
        ~Blocked() { --count_; }

       private:
        std::size_t& count_;
    };
    struct Worker final : detail::TaskDone {
        Task<bool> task;
        bool is_done = false;
        explicit Worker(Task<bool> what) : task{std::move(what)} {}
        void on_task_done() noexcept override { is_done = true; }
    };
    struct ActiveCall {
        detail::Call* call;
        std::optional<TimePoint> cancel_at;
    };

    [[nodiscard]] ClientTime make_time() const {
        const Pace steady{plan_.client_ppm[index_]};
        const Pace slewed{plan_.client_ppm[index_] + plan_.slew_ppm[index_]};
        return {&network_.now(), steady, slewed, {}, plan_.wall_skew_us[index_]};
    }
    [[nodiscard]] Transport& transport() const {
        return const_cast<Engine&>(engine_).transport();  // NOLINT: the engine has no const way to it
    }
    [[nodiscard]] Instant true_time(TimePoint local) const { return time_.when(local); }
    [[nodiscard]] Timeline& timeline() const { return network_.timeline(); }

    template <class... Parts>
    void note(const Parts&... parts) const {
        timeline().note(network_.now(), "client ", index_, ": ", parts...);
    }

    /// Whether a thread drives: one that is blocked in a call, or the background thread.
    [[nodiscard]] bool is_driven() const {
        return !plan_.wiring.rests_when_idle || blocked_ > 0 || is_keeping_ || is_over_ ||
               !engine_.is_settled();
    }

    void start(Task<bool> task) {
        Worker& worker = workers_.emplace_back(std::move(task));
        worker.task.start(worker);
    }

    void cancel_due() {
        for (ActiveCall& active : calls_) {
            if (!active.cancel_at || (engine_.now() - *active.cancel_at).count() < 0) continue;
            active.cancel_at.reset();
            engine_.cancel(*active.call);
        }
    }

    // ---- what a worker does ------------------------------------------------------------------------

    Task<bool> work(Random random) {
        if (const auto starts_at = plan_.starts_at[index_]; starts_at.count() > 0) {
            co_await engine_.sleep_until(engine_.now() + starts_at, nullptr);
        }
        for (std::uint32_t i = 0; i < plan_.operation_count && !is_over_; ++i) {
            const auto think = random.spread(std::chrono::nanoseconds{10'000}, half(plan_.ttl));
            co_await engine_.sleep_until(engine_.now() + think, nullptr);
            if (is_over_) break;
            const auto handed = plan_.hands_over ? handovers_.take(random) : std::nullopt;
            if (handed) {
                co_await use_adopted(*handed, random);
            } else {
                co_await use_lock(random);
            }
        }
        co_return true;
    }

    Task<bool> prove_progress(milliseconds bound) {
        Random random{plan_.seed, 300 + index_};
        const LockOptions how{.ttl = plan_.ttl, .wait = bound};
        const SimLeasePtr lease = co_await acquire(draw_claim(random), how, std::nullopt);
        if (!lease || is_over_) co_return false;
        has_progressed_ = true;
        co_return co_await release(lease);
    }

    Task<bool> prove_service(milliseconds bound) {
        const TimePoint end = engine_.now() + bound;
        const std::string name = "of client " + std::to_string(index_);
        const LockOptions how{.ttl = plan_.ttl_max + 4 * plan_.options.node_timeout};
        unserved_by_ = 0;
        while (!is_over_ && unserved_by_ >= 0 && (engine_.now() - end).count() < 0) {
            auto claim = claim_of(std::vector<std::string>(1, name));
            const SimLeasePtr lease = co_await acquire(std::move(claim), how, std::nullopt);
            co_await engine_.sleep_until(engine_.now() + plan_.options.node_timeout, nullptr);
            if (!lease || is_over_) continue;
            unserved_by_ = first_without(network_.nodes(), plan_.wiring, name, lease->token.str());
            co_await release(lease);
            co_await engine_.sleep_until(engine_.now() + bound / 32, nullptr);
        }
        co_return true;
    }

    // ---- the relay ---------------------------------------------------------------------------------

    [[nodiscard]] static LockOptions to_keep() {
        return {.ttl = std::chrono::minutes{30}, .wait = std::chrono::minutes{30}};
    }

    Task<bool> hold() {
        kept_ = co_await acquire(red(), to_keep(), std::nullopt);
        co_return true;
    }

    Task<bool> wait_for_turn(Relay& relay) {
        const SimLeasePtr lease = co_await acquire(red(), to_keep(), std::nullopt);
        if (!lease || is_over_) co_return false;
        relay.take();
        co_return co_await pass_on(lease, relay);
    }

    Task<bool> pass_on(SimLeasePtr lease, Relay& relay) {
        relay.release();
        co_return co_await release(std::move(lease));
    }

    Task<bool> use_lock(Random& random) {
        const LockOptions how = draw_options(random);
        std::optional<TimePoint> cancel_at;
        if (how.wait == forever || random.one_in(10)) {
            cancel_at =
                engine_.now() + random.spread(std::chrono::nanoseconds{1000}, half(4 * plan_.ttl_max));
        }
        const SimLeasePtr lease = co_await acquire(draw_claim(random), how, cancel_at);
        if (!lease || is_over_) co_return false;
        co_return co_await hold_on(lease, how, random);
    }

    Task<bool> use_adopted(HandedOver handed, Random& random) {
        const LockOptions how{.ttl = draw_ttl(random)};
        const SimLeasePtr lease = co_await adopt(std::move(handed), how.ttl);
        if (!lease || is_over_) co_return false;
        co_return co_await hold_on(lease, how, random);
    }

    /// From the moment it is held to its end.
    Task<bool> hold_on(SimLeasePtr lease, LockOptions how, Random& random) {
        if (how.renew) {
            lease->renewal = {how.ttl, lease->acquired_at + how.renew_limit};
            keep(lease);
        }
        std::optional<TimePoint> told_at;
        const std::stop_token lost = random.chance(70) ? lease->lost_token() : std::stop_token{};
        const std::stop_callback on_lost{lost, [&] { told_at = engine_.now(); }};
        if (lost.stop_possible()) keep(lease);

        const std::int64_t steps = plan_.holds_to_the_end ? 0 : random.between(0, 3);
        for (std::int64_t i = 0; i < steps && !is_over_; ++i) {
            const auto hold = random.spread(std::chrono::nanoseconds{10'000}, half(how.ttl));
            co_await engine_.sleep_until(engine_.now() + hold, nullptr);
            if (!is_over_ && random.chance(60)) co_await extend(lease, draw_ttl(random));
        }
        const std::uint64_t ending = random.below(10);
        if ((ending >= 7 || plan_.holds_to_the_end) && !is_over_) {
            constexpr std::chrono::nanoseconds bit = std::chrono::milliseconds{1};
            co_await engine_.sleep_until(lease->valid_until() + bit, nullptr);
            if (lost.stop_possible()) check_told(*lease, told_at);
        }
        if (is_over_) co_return false;
        if (plan_.hands_over && random.chance(80)) co_return co_await hand_over(lease, random);
        if (ending < 9) co_return co_await release(lease);
        note("abandons ", lease->token.str().substr(0, 6));
        renewer_.forget(*lease);
        abandoned_.push_back(lease->token.str());
        co_return true;
    }

    Task<SimLeasePtr> acquire(detail::Ref<const detail::Claim> claim, LockOptions how,
                              std::optional<TimePoint> cancel_at) {
        const Blocked blocked{blocked_};
        detail::Call call;
        calls_.push_back({&call, cancel_at});
        const TimePoint began = engine_.now();
        const auto paused_before = paused_total_;
        note("wants ", claim->resources.front(), claim->resources.size() > 1 ? " and more" : "", " for ",
             how.ttl);
        auto result = co_await contention_.acquire(std::move(claim), how, &call);
        engine_.finish(call);
        std::erase_if(calls_, [&](const ActiveCall& active) { return active.call == &call; });
        if (is_over_) co_return nullptr;
        if (how.wait != forever || cancel_at) {
            std::chrono::nanoseconds bound = connected_timeout();
            if (how.wait.count() != 0) {
                const std::chrono::nanoseconds wait = how.wait == forever ? *cancel_at - began : how.wait;
                const auto connecting =
                    std::min<std::chrono::nanoseconds>(plan_.options.connect_timeout, wait);
                bound = std::max<std::chrono::nanoseconds>(wait, connecting + plan_.options.node_timeout);
            }
            check_bound("acquire", began, bound + paused_total_ - paused_before);
        }
        if (!result) {
            if (timeline().is_on() || plan_.has_secrets()) check_text(result.error().message());
            co_return nullptr;
        }
        const SimLeasePtr& lease = *result;
        note("has ", lease->token.str().substr(0, 6), " for ", lease->remaining(engine_.now()),
             ", fencing token ", lease->fences.empty() ? 0 : lease->fences.front());
        history_.acquired(index_, lease, time_);
        co_return std::move(*result);
    }

    /// Stops holding it and sends the nodes nothing. From then on its keys may be left behind.
    Task<bool> hand_over(SimLeasePtr lease, Random& random) {
        std::optional<Blocked> blocked{std::in_place, blocked_};
        const bool is_handed_on = co_await contention_.detach(lease);
        blocked.reset();
        if (is_over_) co_return false;
        if (lease->hold() == detail::Hold::held) co_return co_await release(lease);
        renewer_.forget(*lease);
        if (!is_handed_on) co_return false;
        note("detaches ", lease->token.str().substr(0, 6));
        abandoned_.push_back(lease->token.str());
        const bool is_alone = lease->was_shortened() || random.chance(75);
        auto fences = is_alone ? std::vector<std::int64_t>{} : lease->fences;
        handovers_.post({lease->claim->resources, lease->token, std::move(fences)});
        co_return true;
    }

    Task<SimLeasePtr> adopt(HandedOver handed, milliseconds ttl) {
        const Blocked blocked{blocked_};
        const TimePoint began = engine_.now();
        const Instant began_true = network_.now();
        const auto paused_before = paused_total_;
        const bool is_same_fence = !handed.fences.empty();
        auto claim = claim_of(handed.resources);
        auto result = co_await adoption_.adopt(std::move(claim), handed.token, handed.fences, ttl);
        if (is_over_) co_return nullptr;
        const std::string token = handed.token.str().substr(0, 6);
        check_bound("adopt", began,
                    connected_timeout() + plan_.options.node_timeout + paused_total_ - paused_before);
        if (!result) {
            note("does not adopt ", token, ": ", to_string(result.error().code()));
            co_return nullptr;
        }
        const SimLeasePtr& lease = *result;
        note("adopts ", token, " for ", lease->remaining(engine_.now()), ", fencing token ",
             lease->fences.empty() ? 0 : lease->fences.front(), is_same_fence ? " as before" : "");
        history_.adopted(index_, lease, time_, began_true, is_same_fence);
        co_return std::move(*result);
    }

    Task<bool> extend(SimLeasePtr lease, milliseconds ttl) {
        const Blocked blocked{blocked_};
        const TimePoint began = engine_.now();
        const Instant began_true = network_.now();
        const auto paused_before = paused_total_;
        auto result = co_await protocol_.extend(lease, ttl);
        if (is_over_) co_return false;
        note("extended ", lease->token.str().substr(0, 6), " to ", ttl, ": ",
             result ? "yes" : to_string(result.error().code()));
        check_bound("extend", began, connected_timeout() + paused_total_ - paused_before);
        if (result) history_.extended(*lease, began_true);
        const TimePoint asked_for = began + (ttl - detail::drift_of(ttl, plan_.options));
        if (result && lease->hold() == detail::Hold::held && lease->valid_until() < asked_for) {
            history_.report(Property::bounded, "an extension succeeded, and the lease lasts less than asked");
        }
        co_return result.has_value();
    }

    Task<bool> release(SimLeasePtr lease) {
        const Blocked blocked{blocked_};
        const TimePoint began = engine_.now();
        const auto paused_before = paused_total_;
        renewer_.forget(*lease);
        auto result = co_await contention_.release(lease, detail::Unconnected::takes_longer);
        if (is_over_) co_return false;
        note("released ", lease->token.str().substr(0, 6), ": ",
             result ? "yes" : to_string(result.error().code()));
        check_bound("release", began, connected_timeout() + paused_total_ - paused_before);
        co_return true;
    }

    void keep(const SimLeasePtr& lease) {
        is_keeping_ = true;
        renewer_.watch(lease);
    }

    // ---- checks ------------------------------------------------------------------------------------

    /// What users read.
    void check_text(std::string_view text) {
        note(text);
        for (const std::string& secret : {plan_.wiring.password, plan_.wiring.user}) {
            if (secret.empty() || text.find(secret) == std::string_view::npos) continue;
            history_.report(Property::no_secrets, "a text shows a password or user: " + std::string{text});
        }
    }

    /// The bound of a call that finds no connections and waits for them first.
    [[nodiscard]] std::chrono::nanoseconds connected_timeout() const {
        return plan_.options.connect_timeout + plan_.options.node_timeout;
    }

    void check_bound(const char* what, TimePoint began, std::chrono::nanoseconds bound) {
        const std::chrono::nanoseconds took = engine_.now() - began;
        constexpr std::chrono::nanoseconds slack = std::chrono::microseconds{1};
        if (took <= bound + slack) return;
        history_.report(Property::bounded, std::string{what} + " took " + std::to_string(took.count()) +
                                               " ns, its bound is " + std::to_string(bound.count()) + " ns");
    }

    /// After the end of the validity: by then the holder must have been told, unless the process was paused.
    void check_told(const SimLease& lease, const std::optional<TimePoint>& told_at) {
        const TimePoint resumed = time_.at(paused_until_);
        const auto since_both = [&](TimePoint when) {
            return std::min(when - lease.valid_until(), when - resumed);
        };
        const bool is_over = since_both(engine_.now()).count() > 0;
        if (!told_at && is_over) history_.report(Property::told_of_loss, "lost() was never triggered");
        if (!told_at || lease.hold() == detail::Hold::released) return;
        constexpr std::chrono::nanoseconds slack = std::chrono::microseconds{1};
        if (since_both(*told_at) <= slack) return;
        history_.report(Property::told_of_loss, "lost() was triggered after the end of the validity");
    }

    // ---- what is drawn -----------------------------------------------------------------------------

    [[nodiscard]] static std::chrono::nanoseconds half(milliseconds ttl) {
        return std::chrono::nanoseconds{ttl} / 2;
    }

    [[nodiscard]] milliseconds draw_ttl(Random& random) const {
        if (plan_.holds_to_the_end) return plan_.ttl_max;
        const std::uint64_t which = random.below(6);
        if (which == 0) return plan_.ttl_max;
        if (which == 1) return std::max(plan_.ttl / 4, milliseconds{10});
        return which == 2 ? random.spread(milliseconds{10}, plan_.ttl_max) : plan_.ttl;
    }

    [[nodiscard]] LockOptions draw_options(Random& random) const {
        LockOptions how;
        how.ttl = draw_ttl(random);
        const std::uint64_t which = random.below(5);
        if (which >= 2) how.wait = random.spread(milliseconds{10}, 2 * plan_.ttl_max);
        if (which == 4) how.wait = forever;
        how.renew = random.one_in(3) && !plan_.holds_to_the_end;
        how.renew_limit = random.between(how.ttl, 4 * how.ttl);
        return how;
    }

    [[nodiscard]] detail::Ref<const detail::Claim> draw_claim(Random& random) const {
        const std::uint64_t which = random.below(12);
        if (which == 0) return claim_of({"blue"});
        return which == 1 ? claim_of({"red", "blue"}) : red();
    }

    [[nodiscard]] detail::Ref<const detail::Claim> red() const { return claim_of({"red"}); }

    [[nodiscard]] detail::Ref<const detail::Claim> claim_of(std::vector<std::string> names) const {
        auto claim = detail::make_ref<detail::Claim>();
        claim->resources = std::move(names);
        const bool calls = plan_.options.notify && !plan_.calls_nobody[index_];
        for (const std::string& name : claim->resources) {
            if (plan_.options.fencing) claim->counters.push_back(detail::fence_key(name));
            if (calls) claim->queues.push_back(detail::queue_key(name));
        }
        return claim;
    }

    // ---- upcalls -----------------------------------------------------------------------------------

    void on_notice(std::size_t node, std::string_view payload) override {
        contention_.on_notice(node, payload);
    }
    void on_turn() override { contention_.on_turn(); }
    void on_unfinished() noexcept override {}
    void on_reminder(TimePoint /*when*/) noexcept override {}
    void on_lease_shortened(SimLease& lease) override { renewer_.on_lease_shortened(lease); }
    void on_due_changed() override {}
    void on_callback(bool /*is_running*/) override {}

    Network& network_;
    History& history_;
    HandOvers& handovers_;
    const Plan& plan_;
    std::uint32_t index_;
    ClientTime time_;

    Engine engine_;
    detail::RoundFactory<Transport, SimClock> rounds_;
    detail::Protocol<Transport, SimClock> protocol_;
    detail::Adoption<Transport, SimClock> adoption_;
    detail::Contention<Transport, SimClock> contention_;
    detail::Renewer<Transport, SimClock> renewer_;

    std::deque<Worker> workers_;
    std::vector<ActiveCall> calls_;
    std::vector<std::string> abandoned_;
    SimLeasePtr kept_;
    std::optional<TimePoint> renewer_due_;
    Instant paused_until_{0};
    std::chrono::nanoseconds paused_total_{0};
    std::chrono::nanoseconds pause_mid_send_{0};
    std::size_t blocked_ = 0;  ///< calls
    std::int64_t unserved_by_ = -1;
    bool is_keeping_ = false;
    bool is_crashed_ = false;
    bool is_over_ = false;
    bool has_progressed_ = false;
};

}  // namespace redlock::sim
