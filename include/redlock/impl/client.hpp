// SPDX-License-Identifier: Apache-2.0
// What a Redlock and its locks share: engine, protocol and keeper, and the blocking calls on them.
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

#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/lease_events.hpp"
#include "redlock/algorithm/protocol.hpp"
#include "redlock/algorithm/retry.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/upcalls.hpp"
#include "redlock/inspect.hpp"
#include "redlock/options.hpp"
#include "redlock/renewal/background_thread.hpp"
#include "redlock/renewal/renewer.hpp"
#include "redlock/result.hpp"
#include "redlock/system/fork.hpp"
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
    using LeasePtr = std::shared_ptr<Lease<TimePoint>>;
    using Caller = typename EngineType::Caller;

    /// The last owner may be a callback on the background thread, which cannot wait for its own end, or one
    /// that such a callback waits for: then another thread does it. In a forked child nothing may be waited
    /// for or destroyed, since threads that do not exist there may hold it: the child's copies of the sockets
    /// are closed, the memory is left.
    [[nodiscard]] static std::shared_ptr<Client> make(std::unique_ptr<Transport> transport, Clock clock,
                                                      const Options& options) {
        return {new Client{std::move(transport), std::move(clock), options},
                [](Client* last) { destroy(last); }};
    }

    Client(std::unique_ptr<Transport> transport, Clock clock, const Options& options)
        : engine_{std::move(transport), std::move(clock), options},
          protocol_{engine_, *this},
          contention_{engine_, protocol_},
          renewer_{engine_, protocol_, *this},
          background_thread_{engine_, renewer_} {
        engine_.set_upcalls(this);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// One node_timeout for all that is still to be done.
    ~Client() {
        const TimePoint until = end();
        background_thread_.join(until);
        engine_.drain(until);
        engine_.end_waits();
    }

    /// When its Redlock is destroyed: the calls on that which still wait, on other threads, end `cancelled`.
    void close() noexcept {
        if (!is_forked()) closing_.request_stop();
    }

    [[nodiscard]] TimePoint now() const { return engine_.now(); }
    [[nodiscard]] const Options& options() const noexcept { return engine_.options(); }
    [[nodiscard]] EngineType& engine() noexcept { return engine_; }
    [[nodiscard]] Protocol<Transport, Clock>& protocol() noexcept { return protocol_; }
    [[nodiscard]] Contention<Transport, Clock>& waiting() noexcept { return contention_; }
    [[nodiscard]] Renewer<Transport, Clock>& renewer() noexcept { return renewer_; }

    [[nodiscard]] Result<LeasePtr> acquire(std::shared_ptr<const Claim> claim, const LockOptions& how) {
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

    /// Where memory runs out before it is sent it is given up: nothing extends the lease any more.
    [[nodiscard]] Result<void> release(const LeasePtr& lease,
                                       Unconnected unconnected = Unconnected::takes_longer) noexcept try {
        if (is_forked()) return after_fork();
        renewer_.forget(*lease);
        return engine_.run(contention_.release(lease, unconnected));
    } catch (const std::bad_alloc&) {
        if (!is_forked()) static_cast<void>(lease->begin_release(now()));
        return out_of_memory();
    }

    /// For destructors, which wait for no connection. One that is the last owner's ends the session within
    /// the same node_timeout.
    static void drop(std::shared_ptr<Client> client, const LeasePtr& lease) noexcept {
        if (client->is_forked() || lease->hold() == Hold::released) return;
        const TimePoint until = client->now() + client->options().node_timeout;
        static_cast<void>(client->release(lease, Unconnected::goes_out));
        if (client.use_count() == 1) client->end_by_ = until;
    }

    void keep(const LeasePtr& lease) {
        if (is_forked()) return;
        background_thread_.start();
        renewer_.keep(lease);
    }

    /// Stops holding it without a word to the nodes. False: it was not held, or is still.
    [[nodiscard]] bool detach(const LeasePtr& lease) {
        if (is_forked()) return false;
        const bool is_handed_on = engine_.run(contention_.detach(lease));
        if (lease->hold() != Hold::held) renewer_.forget(*lease);
        return is_handed_on;
    }

    [[nodiscard]] Result<LeasePtr> adopt(std::shared_ptr<const Claim> claim, Token token,
                                         std::vector<std::int64_t> fences, const LockOptions& how) {
        if (is_forked()) return after_fork();
        if (how.renew) background_thread_.start();
        auto result =
            engine_.run(protocol_.adopt(std::move(claim), std::move(token), std::move(fences), how.ttl));
        if (result && how.renew) renew(*result, how);
        return result;
    }

    [[nodiscard]] Result<Inspection> inspect(std::string resource) {
        if (is_forked()) return after_fork();
        Caller caller{engine_};
        return engine_.run(caller, gather_inspection(std::move(resource), &caller));
    }

    [[nodiscard]] std::vector<NodeReport> reports(const LeasePtr& lease) {
        if (is_forked() || !lease->votes) return {};
        Caller caller{engine_};
        return engine_.run(caller, gather_reports(lease, &caller));
    }

    /// Nothing when a lease of this length can be had.
    [[nodiscard]] std::optional<Failure> check_ttl(std::chrono::milliseconds ttl) const {
        using namespace std::chrono_literals;
        const auto drift = drift_of(std::clamp(ttl, 0ms, longest_ttl), options());
        const std::string value = "the ttl is " + std::to_string(ttl.count()) + " ms, ";
        if (ttl > longest_ttl) return Failure{errc::invalid_argument, value + "but the longest is one year"};
        if (ttl.count() > 0 && ttl > drift) return std::nullopt;
        const auto least = std::chrono::floor<std::chrono::microseconds>(drift).count();
        return Failure{errc::invalid_argument,
                       value + "but must be more than the drift of " + std::to_string(least) + " µs"};
    }

    /// Then nothing of it may be touched: a thread that does not exist here may have been at work.
    [[nodiscard]] bool is_forked() const noexcept { return fork_mark_.is_forked(); }

    [[nodiscard]] static Failure after_fork() {
        return Failure{errc::invalid_argument,
                       "this Redlock was made before a fork; make a new one in the child process"};
    }

   private:
    static void destroy(Client* last) noexcept {
        if (last->is_forked()) return last->engine_.transport().abandon();
        last->end_by_ = last->end();  // once: waiting for a renewal and draining have it together
        if (last->background_thread_.is_this_thread() || !last->background_thread_.stop(*last->end_by_)) {
            delete_elsewhere(last);
        } else {
            delete last;
        }
    }

    /// Where no thread can be had, or no memory for one, it is left: this one cannot wait for its own end.
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
        renewer_.keep(lease);
    }

    [[nodiscard]] static std::chrono::nanoseconds limit_of(const LockOptions& how) {
        return std::min(how.renew_limit, ages);
    }

    /// A point in time that has come already: resumes in the driver's turn, after what has arrived is read.
    Task<std::vector<NodeReport>> gather_reports(LeasePtr lease, Call* call) {
        co_await engine_.sleep_until(engine_.now(), call);
        co_return protocol_.reports(*lease->votes);
    }

    Task<Inspection> gather_inspection(std::string resource, Call* call) {
        std::vector<std::string> resources;
        resources.push_back(std::move(resource));
        const auto round = co_await protocol_.peek(std::move(resources), call);
        Inspection seen;
        const auto reports = protocol_.reports(*round);
        for (std::size_t i = 0; i < reports.size(); ++i) {
            seen.nodes.push_back(seen_at(reports[i], round->ballots[i]));
        }
        conclude(seen, round->tally.quorum());
        co_return seen;
    }

    /// Where there is no key its vote is what it would say to an attempt, as far as that is known.
    [[nodiscard]] Inspection::Node seen_at(const NodeReport& report, const Ballot& ballot) const {
        Inspection::Node node{report, {}, {}, 0};
        if (ballot.values.size() != 2) return node;
        if (ballot.vote == Vote::granted) node.holder = std::exchange(node.report.detail, {});
        if (!node.holder.empty()) node.ttl = std::chrono::milliseconds{ballot.values[0]};
        const std::int64_t counter = ballot.values[1];
        node.fence = static_cast<std::uint64_t>(std::max<std::int64_t>(0, counter));
        if (ballot.vote != Vote::granted || (counter >= 0 && node.fence < fencing_token_max)) return node;
        node.report.detail = "its fencing counter is no number, or has no room below 2^53";
        if (node.holder.empty() && options().fencing) node.report.vote = Vote::refused;
        return node;
    }

    /// A quorum with one token, or with none.
    static void conclude(Inspection& seen, std::size_t quorum) {
        for (const Inspection::Node& candidate : seen.nodes) {
            if (candidate.report.vote != Vote::granted) continue;
            std::vector<std::chrono::milliseconds> ttls;
            for (const Inspection::Node& node : seen.nodes) {
                const bool agrees = node.report.vote == Vote::granted && node.holder == candidate.holder;
                if (agrees) ttls.push_back(node.ttl.count() < 0 ? forever : node.ttl);
            }
            if (ttls.size() < quorum) continue;
            std::sort(ttls.begin(), ttls.end(), [](auto a, auto b) { return a > b; });
            seen.holder = candidate.holder;
            seen.state = seen.holder.empty() ? Inspection::State::available : Inspection::State::held;
            seen.remaining = ttls[quorum - 1];
            return;
        }
    }

    // ---- from the parts below to those above -------------------------------------------------------

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
    Protocol<Transport, Clock> protocol_;
    Contention<Transport, Clock> contention_;
    Renewer<Transport, Clock> renewer_;
    BackgroundThread<Transport, Clock> background_thread_;
    std::stop_source closing_;
    std::optional<TimePoint> end_by_;  ///< the last owner's
    ForkMark fork_mark_;
};

}  // namespace redlock::inline v0_1::detail
