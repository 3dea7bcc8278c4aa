// SPDX-License-Identifier: Apache-2.0
// Redlock: acquire, extend and release, as one reads them in the specification.
//
// The numbers in brackets are those of the specification's own sentences, in the order of
// https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/. Everything here awaits rounds
// and points in time, and knows nothing of sockets, threads or real clocks.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "redlock/algorithm/failures.hpp"
#include "redlock/algorithm/fences.hpp"
#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/lease_events.hpp"
#include "redlock/algorithm/round_factory.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/text/printable.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

template <class Transport, class Clock>
class Protocol {
   public:
    using EngineType = Engine<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using RoundPtr = typename EngineType::RoundPtr;
    using LeaseType = Lease<TimePoint>;
    using LeasePtr = Ref<LeaseType>;
    using ClaimPtr = Ref<const Claim>;
    using Timing = AttemptTiming<TimePoint>;

    Protocol(EngineType& engine, RoundFactory<Transport, Clock>& rounds, LeaseEvents<TimePoint>& events)
        : engine_{engine}, rounds_{rounds}, events_{events} {}

    /// One attempt that begins now, for resources that nobody waits for.
    Task<Result<LeasePtr>> try_acquire(ClaimPtr claim, std::chrono::milliseconds ttl, Call* call) {
        const TimePoint now = engine_.now();
        Timing timing{now + engine_.options().node_timeout, now + engine_.options().connect_timeout};
        co_return co_await acquire(std::move(claim), ttl, timing, std::nullopt, call);
    }

    /// One attempt. [8]–[14] With a `lead` that node is asked first, and the others when it has granted.
    Task<Result<LeasePtr>> acquire(ClaimPtr claim, std::chrono::milliseconds ttl, Timing& timing,
                                   std::optional<std::size_t> lead, Call* call) {
        const Options& options = engine_.options();
        const Token token = rounds_.fresh_token();
        RoundPtr round = rounds_.acquire(*claim, token, ttl, timing);
        round->lead = lead;
        Verdict verdict = co_await engine_.verdict_of(round, call);  // [9] [10]
        if (verdict == Verdict::put_off) {
            verdict = co_await engine_.connections_until(timing.connect_by, call);
            if (verdict == Verdict::cancelled) co_return failed_attempt(errc::cancelled, *claim, *round);
            timing.latest = timing.latest + (engine_.now() - round->started);
            timing.connect_by = engine_.now();
            round = rounds_.acquire(*claim, token, ttl, timing);
            verdict = co_await engine_.verdict_of(round, call);
        }
        const TimePoint started = round->started;
        RoundPtr last = round;
        Fences fences;
        if (verdict == Verdict::carried && claim->is_fenced()) {
            fences = agreed_fences(round->ballots, claim->counters.size());
            if (fences.empty()) {
                fences = largest_fences(round->ballots, claim->counters.size());
                last = rounds_.commit(*claim, token, *round, fences);
                verdict = co_await engine_.verdict_of(last, call);
            }
        }
        timing.took = engine_.now() - started;
        const auto validity = validity_of(ttl, timing.took, options);  // [12]
        if (verdict == Verdict::carried && validity.count() > 0) {     // [11]
            rounds_.note_fences(fences);
            round->forget_values();
            co_return make_ref<LeaseType>(std::move(claim), token, std::move(fences), round, started,
                                          started + (ttl - drift_of(ttl, options)));
        }
        // [14] [18] at once, on all nodes, those included that failed or did not answer
        engine_.post(rounds_.release(*claim, token, round->keys, engine_.now()));
        errc reason = last->tally.reason();
        if (verdict == Verdict::carried) reason = errc::too_slow;
        if (verdict == Verdict::cancelled) reason = errc::cancelled;
        co_return failed_attempt(reason, *claim, *last);
    }

    /// Adds time to a lease, if and only if a quorum still holds it for us [25] [26], and after the
    /// extensions that were asked for before (R33). Without a ttl it is a renewal.
    Task<Result<void>> extend(LeasePtr lease, std::optional<std::chrono::milliseconds> ttl) {
        const Options& options = engine_.options();
        const TimePoint asked = engine_.now();
        Extension<TimePoint> extension{ttl, asked, rounds_.end_of(asked)};
        ExtensionStart start = lease->begin_extension(extension, asked, options);
        if (start == ExtensionStart::busy) {
            co_await engine_.next_turn(nullptr);  // by then the one under way may have ended
            start = lease->begin_extension(extension, engine_.now(), options);
        }
        if (start == ExtensionStart::busy) {
            co_await engine_.suspend(enqueue(*lease, extension), nullptr);
            start = lease->begin_extension(extension, engine_.now(), options);
        }
        if (start != ExtensionStart::begun) {
            co_return unsent_extension(start, *lease->claim, lease->hold(), lease->was_revoked());
        }
        TurnGuard turn{engine_, *lease};
        if (extension.is_sooner) events_.on_lease_shortened(*lease);
        const TimePoint connect_by = asked + options.connect_timeout;
        RoundPtr round = rounds_.extend(*lease, extension);
        if (extension.started < connect_by) round->unconnected = Unconnected::is_put_off;
        Verdict verdict = co_await engine_.verdict_of(round, nullptr);
        if (verdict == Verdict::put_off) {
            co_await engine_.connections_until(first_of(connect_by, extension.until), nullptr);
            const TimePoint latest = extension.latest + (engine_.now() - round->started);
            extension.latest = first_of(latest, rounds_.end_of(connect_by));
            if (lease->remaining(engine_.now()).count() > 0) {
                round = rounds_.extend(*lease, extension);
                verdict = co_await engine_.verdict_of(round, nullptr);
            }
        }
        turn.was_used = true;
        co_return end_extension(lease, extension, round, verdict);
    }

    /// Deletes our keys on all nodes, wherever they may be. [7] [14] [19] Sets `has_notified` where a node
    /// has notified a waiter.
    Task<Result<void>> release(LeasePtr lease, bool* has_notified, Unconnected unconnected) {
        const TimePoint started = engine_.now();
        const Hold before = lease->begin_release(started);
        if (before == Hold::released) {
            co_return unlocked_before(*lease->claim);
        }
        const RoundPtr round = rounds_.release(*lease->claim, lease->token, lease->keys, started);
        round->unconnected = unconnected;
        round->wants_no = true;
        if (before == Hold::lost) {
            engine_.post(round);
            co_return lost_before(*lease->claim, lease->was_revoked());
        }
        const Verdict verdict = co_await engine_.verdict_of(round, nullptr);
        for (const Ballot& ballot : round->ballots) {
            if (ballot.vote == Vote::granted && !ballot.values.empty()) *has_notified = true;
        }
        if (verdict == Verdict::carried) co_return Result<void>{};
        co_return unconfirmed(*lease->claim, round->tally, rounds_.reports(round->ballots));
    }

    /// As a release of what was lost, for which nobody waits. In the driver's turn only.
    void clean_up(const LeaseType& lease) {
        engine_.post(rounds_.release(*lease.claim, lease.token, lease.keys, engine_.now()));
    }

   private:
    /// The turn of an extension that has begun. At its end the next extension has it; one that is resumed may
    /// end without its turn, or may have ended before, and then the one behind it is resumed. Where memory
    /// runs out before the extension is sent, it must not keep the turn.
    struct TurnGuard {
        EngineType& engine;
        LeaseType& lease;
        bool was_used = false;
        ~TurnGuard() {
            if (!was_used) {
                lease.abandon_extension();
                return;
            }
            while (const auto next = lease.next_extension()) engine.resume(*next);
        }
    };

    /// Until its turn, or until its time is over. The one under way ends within the validity, and so does
    /// this.
    [[nodiscard]] auto enqueue(LeaseType& lease, Extension<TimePoint>& extension) {
        if (engine_.lacks_connections()) {  // nor can the one under way go on without them
            extension.latest = extension.latest + engine_.options().connect_timeout;
        }
        extension.in_queue = make_ref<Suspended<TimePoint>>(extension.latest);
        lease.enqueue(extension.in_queue);
        return extension.in_queue;
    }

    /// After its round.
    [[nodiscard]] Result<void> end_extension(const LeasePtr& lease, const Extension<TimePoint>& extension,
                                             const RoundPtr& round, Verdict verdict) {
        if (lease->end_extension(extension, verdict == Verdict::carried, engine_.now())) {
            round->forget_values();
            put_back(*lease, *round, extension.ttl);
            return {};
        }
        if (round->tally.denied() >= round->tally.quorum()) {
            lease->revoke();
            events_.on_lease_shortened(*lease);
            return failure_of(errc::lost, *lease, *round);
        }
        if (lease->hold() == Hold::released) {
            return failure_of(errc::lost, *lease, *round, " was given up meanwhile");
        }
        return failure_of(errc::unknown, *lease, *round);
    }

    void put_back(LeaseType& lease, const Round<TimePoint>& extension, std::chrono::milliseconds ttl) {
        const auto before = lease.exchange_last_extension(extension.votes);
        RoundPtr round = rounds_.put_back(lease, extension, before.get(), ttl);
        if (!round) return;
        if (const auto held = lease.lock_if_held()) engine_.post(std::move(round));
    }

    [[nodiscard]] Failure failed_attempt(errc reason, const Claim& claim,
                                         const Round<TimePoint>& round) const {
        return attempt_failure(reason, claim, round.ballots, rounds_.reports(round.ballots));
    }

    [[nodiscard]] Failure failure_of(errc reason, const LeaseType& lease, const Round<TimePoint>& round,
                                     const char* what = "") const {
        return Failure{reason, joined({describe(*lease.claim), what}), rounds_.reports(round.ballots)};
    }

    EngineType& engine_;
    RoundFactory<Transport, Clock>& rounds_;
    LeaseEvents<TimePoint>& events_;
};

}  // namespace redlock::inline v0_1::detail
