// SPDX-License-Identifier: Apache-2.0
// Redlock: acquire, extend and release, as one reads them in the specification.
//
// The numbers in brackets are those of the specification's own sentences, in the order of
// https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/. Everything here awaits rounds
// and points in time, and knows nothing of sockets, threads or real clocks.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/lease_events.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
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
    using LeasePtr = std::shared_ptr<LeaseType>;
    using ClaimPtr = std::shared_ptr<const Claim>;
    using Values = std::vector<std::int64_t>;

    Protocol(EngineType& engine, LeaseEvents<TimePoint>& events) : engine_{engine}, events_{events} {}

    /// When one attempt is to be over, and how long it took.
    struct Timing {
        TimePoint latest;      ///< decided, unless connections had to be made first
        TimePoint connect_by;  ///< until when it waits for these; its time begins then
        std::chrono::nanoseconds took{0};
    };

    /// One attempt, with a token of its own: the late release of one must not free another. [8]–[14] With a
    /// `lead` that node is asked first, and the others when it has granted.
    Task<Result<LeasePtr>> acquire(ClaimPtr claim, std::chrono::milliseconds ttl, Timing& timing,
                                   std::optional<std::size_t> lead, Call* call) {
        const Options& options = engine_.options();
        const Token token = fresh_token();
        RoundPtr round = acquire_round(*claim, token, ttl, timing);
        round->lead = lead;
        Verdict verdict = co_await engine_.verdict_of(round, call);  // [9] [10]
        if (verdict == Verdict::put_off) {
            verdict = co_await engine_.connections_until(timing.connect_by, call);
            if (verdict == Verdict::cancelled) co_return failure_of(errc::cancelled, *claim, *round);
            timing.latest = timing.latest + (engine_.now() - round->started);
            timing.connect_by = engine_.now();
            round = acquire_round(*claim, token, ttl, timing);
            verdict = co_await engine_.verdict_of(round, call);
        }
        const TimePoint started = round->started;
        RoundPtr last = round;
        Values fences;
        if (verdict == Verdict::carried && claim->is_fenced()) {
            fences = agreed_fences(*round, claim->counters.size());
            if (fences.empty()) {
                fences = largest_fences(*round, claim->counters.size());
                last = commit_round(*claim, token, *round, fences);
                verdict = co_await engine_.verdict_of(last, call);
            }
        }
        timing.took = engine_.now() - started;
        const auto validity = validity_of(ttl, timing.took, options);  // [12]
        if (verdict == Verdict::carried && validity.count() > 0) {     // [11]
            for (const std::int64_t fence : fences) note_fence(fence);
            round->forget_values();
            co_return std::make_shared<LeaseType>(std::move(claim), token, std::move(fences), round, started,
                                                  started + (ttl - drift_of(ttl, options)));
        }
        // [14] [18] at once, on all nodes, those included that failed or did not answer
        engine_.post(release_round(*claim, token, round->keys, engine_.now()));
        errc reason = last->tally.reason();
        if (verdict == Verdict::carried) reason = errc::too_slow;
        if (verdict == Verdict::cancelled) reason = errc::cancelled;
        co_return failure_of(reason, *claim, *last);
    }

    /// Adds time to a lease, if and only if a quorum still holds it for us. [25] [26] After those that were
    /// asked for before (R33); without a ttl it is what a renewal gives by then.
    Task<Result<void>> extend(LeasePtr lease, std::optional<std::chrono::milliseconds> ttl) {
        const TimePoint asked = engine_.now();
        typename LeaseType::Extension extension{ttl, asked, round_end(asked)};
        ExtensionStart start = lease->begin_extension(extension, asked, engine_.options());
        if (start == ExtensionStart::busy) start = co_await wait_for_turn(*lease, extension);
        if (start != ExtensionStart::begun) co_return unsent(*lease, start);
        TakenTurn turn{*lease};
        if (extension.is_sooner) events_.on_lease_shortened(*lease);
        const TimePoint connect_by = asked + engine_.options().connect_timeout;
        RoundPtr round = extension_round(*lease, extension);
        if (extension.started < connect_by) round->unconnected = Unconnected::is_put_off;
        Verdict verdict = co_await engine_.verdict_of(round, nullptr);
        if (verdict == Verdict::put_off) {
            co_await engine_.connections_until(first_of(connect_by, extension.until), nullptr);
            extension.latest =
                first_of(extension.latest + (engine_.now() - round->started), round_end(connect_by));
            const bool may_extend = lease->remaining(engine_.now()).count() > 0;
            if (may_extend) round = extension_round(*lease, extension);
            if (may_extend) verdict = co_await engine_.verdict_of(round, nullptr);
        }
        turn.was_used = true;
        const HandsTurnOn at_the_end{*this, *lease};
        if (lease->end_extension(extension, verdict == Verdict::carried, engine_.now())) {
            round->forget_values();
            put_back(*lease, round, extension.ttl);
            co_return Result<void>{};
        }
        if (round->tally.denied() >= round->tally.quorum()) {
            lease->revoke();
            events_.on_lease_shortened(*lease);
            co_return Failure{errc::lost, describe(*lease->claim), reports(*round)};
        }
        if (lease->hold() == Hold::released) {
            co_return Failure{errc::lost, describe(*lease->claim) + " was given up meanwhile",
                              reports(*round)};
        }
        co_return Failure{errc::unknown, describe(*lease->claim), reports(*round)};
    }

    /// Deletes our keys on all nodes, wherever they may be. [7] [14] [19] Says whether it called a waiter.
    Task<Result<void>> release(LeasePtr lease, bool* has_notified, Unconnected unconnected) {
        const TimePoint started = engine_.now();
        const Hold before = lease->begin_release(started);
        if (before == Hold::released) {
            co_return Failure{errc::lost, describe(*lease->claim) + " was unlocked before"};
        }
        const RoundPtr round = release_round(*lease, started);
        round->unconnected = unconnected;
        round->wants_no = true;
        if (before == Hold::lost) {
            engine_.post(round);
            co_return ended(*lease);
        }
        const Verdict verdict = co_await engine_.verdict_of(round, nullptr);
        const auto called = [](const Ballot& ballot) {
            return ballot.vote == Vote::granted && !ballot.values.empty();
        };
        *has_notified = std::any_of(round->ballots.begin(), round->ballots.end(), called);
        if (verdict == Verdict::carried) co_return Result<void>{};
        const bool is_gone = round->tally.denied() >= round->tally.quorum();
        co_return Failure{is_gone ? errc::lost : errc::unknown, describe(*lease->claim), reports(*round)};
    }

    /// As a release of what was lost, for which nobody waits. In the driver's turn only.
    void clean_up(const LeaseType& lease) { engine_.post(release_round(lease, engine_.now())); }

    /// Goes on holding what another held by this token, if a quorum says that it is so. Without fencing
    /// tokens at hand it takes new ones, as an acquire does: those in the counters may be another holder's.
    Task<Result<LeasePtr>> adopt(ClaimPtr claim, Token token, Values fences, std::chrono::milliseconds ttl) {
        if (claim->is_fenced() && fences.empty()) {
            Result<Values> fresh = co_await adopted_fences(claim, token);
            if (!fresh) co_return std::move(fresh).error();
            fences = *std::move(fresh);
        }
        const auto make = [&] {
            const TimePoint started = engine_.now();
            RoundPtr extension = engine_.make_round(
                hold_command(Command::Kind::extend, *claim, token, ttl, engine_.options().fence_ttl, fences),
                started, round_end(started));
            extension->wants_no = true;
            extension->lasts = ttl + drift_of(ttl, engine_.options());
            extension->keys = std::make_shared<KeyRecords<TimePoint>>(engine_.size());
            return extension;
        };
        const RoundPtr round = co_await decided(make, connect_end(), nullptr);
        const TimePoint sent = round->started;
        const auto validity = validity_of(ttl, engine_.now() - sent, engine_.options());
        if (round->verdict != Verdict::carried) co_return failed_adoption(*claim, *round);
        if (validity.count() <= 0) co_return Failure{errc::too_slow, describe(*claim), reports(*round)};
        auto key_ttl = ttl;  // which may be longer than the lease: the extension shortens nothing
        for (const Ballot& ballot : round->ballots) {
            for (const std::int64_t left : ballot.values) {
                key_ttl = std::max(key_ttl, std::min(std::chrono::milliseconds{left}, longest_ttl));
            }
        }
        const TimePoint keys_end = engine_.now() + (key_ttl + drift_of(key_ttl, engine_.options()));
        for (std::size_t i = 0; i < engine_.size(); ++i)
            round->keys->expect(i, keys_end);  // by another's hand
        co_return std::make_shared<LeaseType>(std::move(claim), std::move(token), std::move(fences), round,
                                              sent, sent + (ttl - drift_of(ttl, engine_.options())));
    }

    /// What the nodes say of some resources; answers when all have, or at the end of the node_timeout.
    Task<RoundPtr> peek(std::vector<std::string> resources, Call* call) {
        co_return co_await decided([&] { return peek_round(resources); }, connect_end(), call);
    }

    /// What each node said in a round, as of now. In the driver's turn only.
    [[nodiscard]] std::vector<NodeReport> reports(const Round<TimePoint>& round) const {
        return reports(round.ballots);
    }
    [[nodiscard]] std::vector<NodeReport> reports(const std::vector<Ballot>& votes) const {
        std::vector<NodeReport> list(engine_.size());
        for (std::size_t i = 0; i < list.size(); ++i) {
            const Ballot& ballot = votes[i];
            list[i] = {std::string{engine_.transport().endpoint(i)}, ballot.vote, ballot.text,
                       ballot.latency};
        }
        return list;
    }

    /// The first three of its resources, and how many more there are.
    [[nodiscard]] static std::string describe(const Claim& claim) {
        constexpr std::size_t longest = 3;
        const std::size_t shown = std::min(claim.resources.size(), longest);
        std::string text;
        for (std::size_t i = 0; i < shown; ++i) {
            text.append(text.empty() ? "" : ", ").append(in_quotes(claim.resources[i]));
        }
        const std::size_t rest = claim.resources.size() - shown;
        if (rest > 0) text.append(" and ").append(std::to_string(rest)).append(" more");
        return text;
    }

   private:
    /// Put off where connections are worth waiting for.
    [[nodiscard]] RoundPtr acquire_round(const Claim& claim, const Token& token,
                                         std::chrono::milliseconds ttl, const Timing& timing) {
        const Options& options = engine_.options();
        const TimePoint started = engine_.now();  // [8] before the first byte is sent
        const Values proposals(claim.counters.size(), proposal());
        const auto limit =
            std::min<std::chrono::nanoseconds>(options.node_timeout, validity_of(ttl, {}, options));
        RoundPtr round = engine_.make_round(acquire_command(claim, token, ttl, options.fence_ttl, proposals),
                                            started, first_of(started + limit, timing.latest));
        round->lasts = ttl + drift_of(ttl, options);
        round->keys = std::make_shared<KeyRecords<TimePoint>>(engine_.size());
        if (started < timing.connect_by) round->unconnected = Unconnected::is_put_off;
        return round;
    }

    [[nodiscard]] Failure failure_of(errc reason, const Claim& claim, const Round<TimePoint>& round) const {
        std::string what = describe(claim);
        std::optional<std::int64_t> remaining_ms;
        bool is_endless = false;
        std::vector<NodeReport> nodes = reports(round);
        for (std::size_t i = 0; i < nodes.size(); ++i) {
            const Ballot& ballot = round.ballots[i];
            if (ballot.vote != Vote::denied || ballot.values.size() != 2) continue;
            if (ballot.values[1] < 0) {  // as PTTL says it
                is_endless = true;
                nodes[i].detail = "the key there has no ttl: it stays until somebody deletes it";
            }
            remaining_ms = std::max(remaining_ms.value_or(0), ballot.values[1]);
            const auto index = static_cast<std::size_t>(ballot.values[0]);
            if (claim.resources.size() > 1 && index >= 1 && index <= claim.resources.size()) {
                what = in_quotes(claim.resources[index - 1]) + " of " + describe(claim);
            }
        }
        Failure failure{reason, std::move(what), std::move(nodes)};
        failure.set_attempts(1);
        if (remaining_ms && !is_endless) {
            failure.set_holder_remaining(std::chrono::milliseconds{*remaining_ms});
        }
        return failure;
    }

    // ---- fencing -----------------------------------------------------------------------------------

    /// The clock gives the speed, the counters give the safety: any number is a correct proposal.
    [[nodiscard]] std::int64_t proposal() const {
        return std::max(engine_.wall_us(), highest_fence_.load(std::memory_order_relaxed) + 1);
    }

    void note_fence(std::int64_t fence) {
        std::int64_t known = highest_fence_.load(std::memory_order_relaxed);
        while (known < fence && !highest_fence_.compare_exchange_weak(known, fence)) {
        }
    }

    /// For what is held already by this token.
    Task<Result<Values>> adopted_fences(ClaimPtr claim, Token token) {
        const auto make = [&] {
            const TimePoint started = engine_.now();
            const Values proposals(claim->counters.size(), proposal());
            Command command = adopt_command(*claim, token, engine_.options().fence_ttl, proposals);
            return engine_.make_round(std::move(command), started, round_end(started));
        };
        RoundPtr round = co_await decided(make, connect_end(), nullptr);
        Verdict verdict = round->verdict;
        if (verdict != Verdict::carried) co_return failed_adoption(*claim, *round);
        Values fences = agreed_fences(*round, claim->counters.size());
        if (fences.empty()) {
            // Others may adopt by the same token: a number that one of them was given would not do.
            fences = largest_fences(*round, claim->counters.size());
            for (std::int64_t& fence : fences) ++fence;
            round = commit_round(*claim, token, *round, fences, true);
            verdict = co_await engine_.verdict_of(round, nullptr);
        }
        if (verdict != Verdict::carried) co_return failed_adoption(*claim, *round);
        for (const std::int64_t fence : fences) note_fence(fence);
        co_return fences;
    }

    /// Per resource the value that a quorum gave; empty when for some resource there is none.
    [[nodiscard]] static Values agreed_fences(const Round<TimePoint>& round, std::size_t count) {
        Values agreed;
        for (std::size_t r = 0; r < count; ++r) {
            for (const Ballot& candidate : round.ballots) {
                if (!gave_fences(candidate, count)) continue;
                const auto same =
                    std::count_if(round.ballots.begin(), round.ballots.end(), [&](const Ballot& other) {
                        return gave_fences(other, count) && other.values[r] == candidate.values[r];
                    });
                if (static_cast<std::size_t>(same) < round.tally.quorum()) continue;
                agreed.push_back(candidate.values[r]);
                break;
            }
        }
        return agreed.size() == count ? agreed : Values{};
    }

    [[nodiscard]] static Values largest_fences(const Round<TimePoint>& round, std::size_t count) {
        Values largest(count, 0);
        for (const Ballot& ballot : round.ballots) {
            if (!gave_fences(ballot, count)) continue;
            for (std::size_t r = 0; r < count; ++r) largest[r] = std::max(largest[r], ballot.values[r]);
        }
        return largest;
    }

    [[nodiscard]] static bool gave_fences(const Ballot& ballot, std::size_t count) noexcept {
        return ballot.vote == Vote::granted && ballot.values.size() == count;
    }

    /// Writes values that none is above back to those that granted smaller ones. Same deadline: one attempt.
    [[nodiscard]] RoundPtr commit_round(const Claim& claim, const Token& token,
                                        const Round<TimePoint>& granted, const Values& fences,
                                        bool above = false) {
        Command command = commit_command(claim, token, engine_.options().fence_ttl, fences, above);
        RoundPtr commit = engine_.make_round(std::move(command), granted.started, granted.deadline);
        for (std::size_t i = 0; i < granted.ballots.size(); ++i) {
            const Ballot& ballot = granted.ballots[i];
            if (!gave_fences(ballot, fences.size())) {
                commit->settle(i, ballot.vote == Vote::pending ? Vote::timeout : ballot.vote);
                commit->ballots[i].text = ballot.text;
                commit->ballots[i].values = ballot.values;
                commit->ballots[i].latency = ballot.latency;
            } else if (ballot.values == fences) {
                commit->settle(i, Vote::granted);
                commit->ballots[i].latency = ballot.latency;
            }
        }
        return commit;
    }

    // ---- connections -------------------------------------------------------------------------------

    /// The round that `make` makes, decided. Where it was put off it is made anew when a quorum is connected,
    /// or not to be expected any more: with a fresh clock (R1, R5, R22). Still put off: it was cancelled.
    template <class MakeRound>
    Task<RoundPtr> decided(MakeRound make, TimePoint connect_by, Call* call) {
        RoundPtr round = make();
        round->unconnected = Unconnected::is_put_off;
        if (co_await engine_.verdict_of(round, call) != Verdict::put_off) co_return round;
        const Verdict verdict = co_await engine_.connections_until(connect_by, call);
        if (verdict == Verdict::cancelled) co_return round;
        round = make();
        co_await engine_.verdict_of(round, call);
        co_return round;
    }

    [[nodiscard]] TimePoint connect_end() const { return engine_.now() + engine_.options().connect_timeout; }

    // ---- extensions one after another --------------------------------------------------------------

    [[nodiscard]] RoundPtr extension_round(const LeaseType& lease,
                                           const typename LeaseType::Extension& extension) const {
        return follow_up(lease, Command::Kind::extend, extension.ttl, engine_.now(),
                         first_of(extension.latest, extension.until), extension.is_sooner);
    }

    /// Until it is begun, or until its time is over; by then the one under way may have ended. That one ends
    /// within the validity, and so does who waits for it.
    Task<ExtensionStart> wait_for_turn(LeaseType& lease, typename LeaseType::Extension& extension) {
        co_await engine_.next_turn(nullptr);
        const ExtensionStart start = lease.begin_extension(extension, engine_.now(), engine_.options());
        if (start != ExtensionStart::busy) co_return start;
        if (engine_.lacks_connections()) {  // nor can the one that is under way get on
            extension.latest = extension.latest + engine_.options().connect_timeout;
        }
        extension.turn = std::make_shared<Suspended<TimePoint>>(extension.latest);
        lease.line_up(extension.turn);
        co_await engine_.suspend(extension.turn, nullptr);
        co_return lease.begin_extension(extension, engine_.now(), engine_.options());
    }

    /// Where memory runs out before an extension is sent, it must not keep the turn.
    struct TakenTurn {
        LeaseType& lease;
        bool was_used = false;
        ~TakenTurn() {
            if (!was_used) lease.abandon_extension();
        }
    };

    /// At the end of an extension. One that is called may end without another, or may have gone; then the
    /// next is called.
    struct HandsTurnOn {
        Protocol& protocol;
        LeaseType& lease;
        ~HandsTurnOn() {
            while (const auto next = lease.next_in_line()) protocol.engine_.resume(*next);
        }
    };

    [[nodiscard]] static Failure ended(const LeaseType& lease) {
        const std::string name = describe(*lease.claim);
        if (!lease.was_revoked()) return Failure{errc::lost, "the validity of " + name + " had ended"};
        return Failure{errc::lost, "the nodes have said that " + name + " is not ours any more"};
    }

    [[nodiscard]] static Result<void> unsent(const LeaseType& lease, ExtensionStart start) {
        const std::string name = describe(*lease.claim);
        switch (start) {
            case ExtensionStart::over:
                if (lease.hold() == Hold::released) return Failure{errc::lost, name + " was given up before"};
                return ended(lease);
            case ExtensionStart::busy:
                return Failure{errc::unknown, "another extension of " + name + " took too long"};
            case ExtensionStart::begun:
            case ExtensionStart::needless: break;
        }
        return {};
    }

    // ---- parts -------------------------------------------------------------------------------------

    [[nodiscard]] RoundPtr peek_round(const std::vector<std::string>& resources) {
        std::vector<std::string> counters;
        counters.reserve(resources.size());
        for (const std::string& resource : resources) {
            counters.push_back(fence_key(resource, engine_.options().fence_suffix));
        }
        const TimePoint started = engine_.now();
        RoundPtr round = engine_.make_round(peek_command(resources, counters), started, round_end(started));
        round->wants_all = true;
        return round;
    }

    [[nodiscard]] Failure failed_adoption(const Claim& claim, const Round<TimePoint>& round) const {
        const bool is_lost = round.tally.denied() >= round.tally.quorum();
        return Failure{is_lost ? errc::lost : errc::unknown, describe(claim), reports(round)};
    }

    [[nodiscard]] TimePoint round_end(TimePoint started) const {
        return started + engine_.options().node_timeout;
    }

    [[nodiscard]] Token fresh_token() const {
        std::array<unsigned char, Token::byte_count> bytes{};  // [6]
        engine_.transport().random(bytes);
        return Token{bytes};
    }

    [[nodiscard]] RoundPtr follow_up(const LeaseType& lease, Command::Kind kind,
                                     std::chrono::milliseconds ttl, TimePoint started, TimePoint deadline,
                                     bool exactly = false) const {
        Command command = hold_command(kind, *lease.claim, lease.token, ttl, engine_.options().fence_ttl,
                                       lease.fences, exactly);
        RoundPtr round = engine_.make_round(std::move(command), started, deadline);
        round->wants_no = kind == Command::Kind::extend;
        round->keys = lease.keys;
        round->lasts = ttl + drift_of(ttl, engine_.options());
        return round;
    }

    [[nodiscard]] RoundPtr release_round(const LeaseType& lease, TimePoint started) const {
        return release_round(*lease.claim, lease.token, lease.keys, started);
    }

    [[nodiscard]] RoundPtr release_round(const Claim& claim, const Token& token,
                                         std::shared_ptr<KeyRecords<TimePoint>> keys,
                                         TimePoint started) const {
        RoundPtr round = engine_.make_round(release_command(claim, token), started, round_end(started));
        round->keys = std::move(keys);
        return round;
    }

    /// A key that vanished on a minority is put back while a quorum holds it (which was just told), on the
    /// nodes that said so to this extension or, too late for it, to the one before.
    void put_back(LeaseType& lease, const RoundPtr& extension, std::chrono::milliseconds ttl) {
        const auto previous = lease.exchange_last_extension(extension->votes);
        const auto is_missing = [&](std::size_t i) {
            const Vote now = extension->ballots[i].vote;
            const bool was_missing = previous && (*previous)[i].vote == Vote::absent;
            return now == Vote::absent || (now == Vote::pending && was_missing);
        };
        RoundPtr round;
        for (std::size_t i = 0; i < engine_.size(); ++i) {
            if (!is_missing(i)) continue;
            if (!round) round = follow_up(lease, Command::Kind::put_back, ttl, engine_.now(), {});
        }
        if (!round) return;
        for (std::size_t i = 0; i < engine_.size(); ++i) {
            if (!is_missing(i)) round->settle(i, Vote::denied);
        }
        lease.while_held([&] { engine_.post(round); });
    }

    EngineType& engine_;
    LeaseEvents<TimePoint>& events_;
    std::atomic<std::int64_t> highest_fence_{0};
};

}  // namespace redlock::inline v0_1::detail
