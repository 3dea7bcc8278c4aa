// SPDX-License-Identifier: Apache-2.0
// The state that a Redlock and its locks share: the parts of the library, and the blocking calls on them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "redlock/algorithm/adoption.hpp"
#include "redlock/algorithm/failures.hpp"
#include "redlock/algorithm/inspection.hpp"
#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/lease_events.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/retry.hpp"
#include "redlock/algorithm/round_factory.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/upcalls.hpp"
#include "redlock/inspect.hpp"
#include "redlock/options.hpp"
#include "redlock/renewal/background_thread.hpp"
#include "redlock/renewal/renewer.hpp"
#include "redlock/result.hpp"
#include "redlock/system/fork.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/system/threads.hpp"
#include "redlock/token.hpp"
#include "redlock/waiting/contention.hpp"

namespace redlock::inline v0_1::detail {

/// The blocking calls. Thread-safe. The last owner drains what is in flight.
template <class Transport, class Clock>
class Client final : private Upcalls<typename Clock::time_point>,
                     private LeaseEvents<typename Clock::time_point> {
   public:
    using EngineType = Engine<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using LeasePtr = Ref<Lease<TimePoint>>;
    using Caller = typename EngineType::Caller;

    /// The last owner may be a callback on the background thread, which cannot wait for its own end, or a
    /// thread that such a callback waits for; then another thread destroys the client. A forked child waits
    /// for nothing and destroys nothing, since threads that do not exist there may hold it: it closes its
    /// copies of the sockets and leaves the memory.
    [[nodiscard]] static std::shared_ptr<Client> make(std::unique_ptr<Transport> transport, Clock clock,
                                                      const Options& options) {
        return {new Client{std::move(transport), std::move(clock), options},
                [](Client* last) { destroy(last); }};
    }

    Client(std::unique_ptr<Transport> transport, Clock clock, const Options& options)
        : engine_{std::move(transport), std::move(clock), options},
          rounds_{engine_},
          protocol_{engine_, rounds_, *this},
          adoption_{engine_, rounds_},
          contention_{engine_, protocol_},
          renewer_{engine_, protocol_, *this},
          background_thread_{engine_, renewer_} {
        engine_.set_upcalls(this);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// All remaining work takes at most one node_timeout.
    ~Client() {
        const TimePoint until = end();
        background_thread_.join(until);
        engine_.drain(until);
        engine_.end_waits();
    }

    /// Called when its Redlock is destroyed: calls that still wait, on other threads, end `cancelled`.
    void close() noexcept {
        if (!is_forked()) closing_.request_stop();
    }

    [[nodiscard]] TimePoint now() const { return engine_.now(); }
    [[nodiscard]] const Options& options() const noexcept { return engine_.options(); }

    /// As acquire() without a wait or renewal. Code that only tries need not compile what waits.
    [[nodiscard]] Result<LeasePtr> try_acquire(Ref<const Claim> claim, std::chrono::milliseconds ttl) {
        if (is_forked()) return after_fork();
        return engine_.run(protocol_.try_acquire(std::move(claim), ttl, nullptr));
    }

    [[nodiscard]] Result<LeasePtr> acquire(Ref<const Claim> claim, const LockOptions& how) {
        if (is_forked()) return after_fork();
        if (how.renew) background_thread_.start();  // before anything is held that would need it
        const bool may_last = how.wait.count() != 0;
        Caller caller{engine_, how.stop, may_last ? closing_.get_token() : std::stop_token{}};
        auto result = engine_.run(caller, contention_.acquire(std::move(claim), how, &caller));
        if (result && how.renew) renew(*result, how);
        return result;
    }

    [[nodiscard]] Result<void> extend(const LeasePtr& lease, std::chrono::milliseconds ttl) {
        if (is_forked()) return after_fork();
        if (auto bad = check_ttl(ttl)) return *std::move(bad);
        return engine_.run(protocol_.extend(lease, ttl));
    }

    /// Where memory runs out before the release is sent, nothing extends the lease any more.
    [[nodiscard]] Result<void> release(const LeasePtr& lease,
                                       Unconnected unconnected = Unconnected::takes_longer) noexcept try {
        if (is_forked()) return after_fork();
        renewer_.forget(*lease);
        return engine_.run(contention_.release(lease, unconnected));
    } catch (const std::bad_alloc&) {
        if (!is_forked()) static_cast<void>(lease->begin_release(now()));
        return out_of_memory();
    }

    /// For destructors, which wait for no connection. The last owner's destructor ends the client within the
    /// same node_timeout.
    static void drop(std::shared_ptr<Client> client, const LeasePtr& lease) noexcept {
        if (client->is_forked() || lease->hold() == Hold::released) return;
        const TimePoint until = client->now() + client->options().node_timeout;
        static_cast<void>(client->release(lease, Unconnected::goes_out));
        if (client.use_count() == 1) client->end_by_ = until;
    }

    void keep(const LeasePtr& lease) {
        if (is_forked()) return;
        background_thread_.start();
        renewer_.watch(lease);
    }

    /// Stops holding it and sends the nodes nothing. False: it was not held, or it still is.
    [[nodiscard]] bool detach(const LeasePtr& lease) {
        if (is_forked()) return false;
        const bool is_handed_on = engine_.run(contention_.detach(lease));
        if (lease->hold() != Hold::held) renewer_.forget(*lease);
        return is_handed_on;
    }

    [[nodiscard]] Result<LeasePtr> adopt(Ref<const Claim> claim, Token token,
                                         std::vector<std::int64_t> fences, const LockOptions& how) {
        if (is_forked()) return after_fork();
        if (how.renew) background_thread_.start();
        auto result =
            engine_.run(adoption_.adopt(std::move(claim), std::move(token), std::move(fences), how.ttl));
        if (result && how.renew) renew(*result, how);
        return result;
    }

    [[nodiscard]] Result<Inspection> inspect(std::string resource) {
        if (is_forked()) return after_fork();
        return engine_.run(gather_inspection(std::move(resource)));
    }

    [[nodiscard]] std::vector<NodeReport> reports(const LeasePtr& lease) {
        if (is_forked() || !lease->votes) return {};
        return engine_.run(gather_reports(lease));
    }

    /// Why a lease cannot have this length; nothing: it can.
    [[nodiscard]] std::optional<Failure> check_ttl(std::chrono::milliseconds ttl) const {
        return ttl_failure(ttl, options());
    }

    /// In a forked child nothing of it may be touched: a thread that does not exist there may have been
    /// changing it.
    [[nodiscard]] bool is_forked() const noexcept { return fork_mark_.is_forked(); }

    [[nodiscard]] static Failure after_fork() {
        return Failure{errc::invalid_argument,
                       "this Redlock was made before a fork; make a new one in the child process"};
    }

   private:
    static void destroy(Client* last) noexcept {
        if (last->is_forked()) return last->engine_.transport().abandon();
        last->end_by_ = last->end();  // once: waiting for a renewal and draining share it
        if (last->background_thread_.is_this_thread() || !last->background_thread_.stop(*last->end_by_)) {
            delete_elsewhere(last);
        } else {
            delete last;
        }
    }

    /// Where no thread can be started, the client is left as it is: this thread cannot wait for its own end.
    static void delete_elsewhere(Client* last) noexcept {
        try {
            start_thread([last] { delete last; }).detach();
        } catch (const std::system_error&) {
        } catch (const std::bad_alloc&) {
        }
    }

    [[nodiscard]] TimePoint end() const {
        return end_by_ ? *end_by_ : engine_.now() + engine_.options().node_timeout;
    }

    void renew(const LeasePtr& lease, const LockOptions& how) {
        lease->renewal = {how.ttl, lease->acquired_at + limit_of(how)};
        renewer_.watch(lease);
    }

    [[nodiscard]] static std::chrono::nanoseconds limit_of(const LockOptions& how) {
        return std::min(how.renew_limit, ages);
    }

    /// Sleeps until now: it resumes in the driver's turn, after what has arrived is read.
    Task<std::vector<NodeReport>> gather_reports(LeasePtr lease) {
        co_await engine_.sleep_until(engine_.now(), nullptr);
        co_return rounds_.reports(lease->votes->ballots);
    }

    /// Answers when all nodes have, or at the end of the node_timeout. A peek that is put off begins anew,
    /// with a fresh clock.
    Task<Inspection> gather_inspection(std::string resource) {
        const TimePoint connect_by = engine_.now() + engine_.options().connect_timeout;
        auto round = rounds_.peek(resource);
        round->unconnected = Unconnected::is_put_off;
        if (co_await engine_.verdict_of(round, nullptr) == Verdict::put_off) {
            co_await engine_.connections_until(connect_by, nullptr);
            round = rounds_.peek(resource);
            co_await engine_.verdict_of(round, nullptr);
        }
        co_return inspection_of(rounds_.reports(round->ballots), round->ballots, options());
    }

    // ---- upcalls -----------------------------------------------------------------------------------

    void on_notice(std::size_t node, std::string_view payload) override {
        contention_.on_notice(node, payload);
    }
    void on_turn() override { contention_.on_turn(); }
    void on_unfinished() noexcept override { background_thread_.on_unfinished(); }
    void on_reminder(TimePoint when) noexcept override { background_thread_.on_reminder(when); }
    void on_lease_shortened(Lease<TimePoint>& lease) override { renewer_.on_lease_shortened(lease); }
    void on_due_changed() override { background_thread_.on_due_changed(); }
    void on_callback(bool is_running) override { background_thread_.on_callback(is_running); }

    EngineType engine_;
    RoundFactory<Transport, Clock> rounds_;
    Protocol<Transport, Clock> protocol_;
    Adoption<Transport, Clock> adoption_;
    Contention<Transport, Clock> contention_;
    Renewer<Transport, Clock> renewer_;
    BackgroundThread<Transport, Clock> background_thread_;
    std::stop_source closing_;
    std::optional<TimePoint> end_by_;  ///< set by the last owner
    ForkMark fork_mark_;
};

}  // namespace redlock::inline v0_1::detail
