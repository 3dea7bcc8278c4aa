// SPDX-License-Identifier: Apache-2.0
// Goes on holding what another held by the same token.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "redlock/algorithm/failures.hpp"
#include "redlock/algorithm/fences.hpp"
#include "redlock/algorithm/lease.hpp"
#include "redlock/algorithm/round_factory.hpp"
#include "redlock/engine/engine.hpp"
#include "redlock/engine/task.hpp"
#include "redlock/options.hpp"
#include "redlock/result.hpp"
#include "redlock/system/ref.hpp"
#include "redlock/token.hpp"
#include "redlock/voting/quorum.hpp"

namespace redlock::inline v0_1::detail {

template <class Transport, class Clock>
class Adoption {
   public:
    using EngineType = Engine<Transport, Clock>;
    using TimePoint = typename Clock::time_point;
    using RoundPtr = typename EngineType::RoundPtr;
    using LeasePtr = Ref<Lease<TimePoint>>;

    Adoption(EngineType& engine, RoundFactory<Transport, Clock>& rounds) : engine_{engine}, rounds_{rounds} {}

    /// If a quorum says that the token is there. Where no fencing tokens were handed on it takes new ones, as
    /// an acquire does: those in the counters may be another holder's.
    Task<Result<LeasePtr>> adopt(Ref<const Claim> claim, Token token, Fences fences,
                                 std::chrono::milliseconds ttl) {
        Request request{*claim, token, fences, ttl, claim->is_fenced() && fences.empty()};
        if (request.takes_fences) {
            Result<void> taken = co_await ask(request);
            if (!taken) co_return std::move(taken).error();
            fences = agreed_fences(request.round->ballots, claim->counters.size());
            if (fences.empty()) {
                fences = above(*request.round, claim->counters.size());
                request.round = rounds_.commit(*claim, token, *request.round, fences, true);
                const Verdict verdict = co_await engine_.verdict_of(request.round, nullptr);
                if (verdict != Verdict::carried) co_return failure_of(request);
            }
            rounds_.note_fences(fences);
            request.takes_fences = false;
        }
        Result<void> extended = co_await ask(request);
        if (!extended) co_return std::move(extended).error();
        const RoundPtr& round = request.round;
        const TimePoint sent = round->started;
        const auto validity = validity_of(ttl, engine_.now() - sent, engine_.options());
        if (validity.count() <= 0) {
            co_return Failure{errc::too_slow, describe(*claim), rounds_.reports(round->ballots)};
        }
        expect_keys(*round, ttl);
        co_return make_ref<Lease<TimePoint>>(std::move(claim), std::move(token), std::move(fences), round,
                                             sent, sent + (ttl - drift_of(ttl, engine_.options())));
    }

   private:
    struct Request {
        const Claim& claim;
        const Token& token;
        const Fences& fences;
        std::chrono::milliseconds ttl{};
        bool takes_fences = false;
        RoundPtr round{};
    };

    /// Sends it. Where it is put off it begins anew, with a fresh clock (R1, R5, R22), when a quorum is
    /// connected or that is not to be expected any more. A failure: it was not carried.
    Task<Result<void>> ask(Request& request) {
        const TimePoint connect_by = engine_.now() + engine_.options().connect_timeout;
        request.round = round_for(request);
        request.round->unconnected = Unconnected::is_put_off;
        Verdict verdict = co_await engine_.verdict_of(request.round, nullptr);
        if (verdict == Verdict::put_off) {
            co_await engine_.connections_until(connect_by, nullptr);
            request.round = round_for(request);
            verdict = co_await engine_.verdict_of(request.round, nullptr);
        }
        if (verdict != Verdict::carried) co_return failure_of(request);
        co_return Result<void>{};
    }

    [[nodiscard]] RoundPtr round_for(const Request& request) const {
        if (request.takes_fences) return rounds_.adopt(request.claim, request.token);
        return rounds_.extend_adopted(request.claim, request.token, request.ttl, request.fences);
    }

    [[nodiscard]] Failure failure_of(const Request& request) const {
        const Round<TimePoint>& round = *request.round;
        return unconfirmed(request.claim, round.tally, rounds_.reports(round.ballots));
    }

    /// Others may adopt by the same token: a number that a node gave to one of them would not do.
    [[nodiscard]] static Fences above(const Round<TimePoint>& round, std::size_t count) {
        Fences fences = largest_fences(round.ballots, count);
        for (std::int64_t& fence : fences) ++fence;
        return fences;
    }

    /// The keys, which another has made, may last longer than the lease: the extension shortens nothing.
    void expect_keys(const Round<TimePoint>& round, std::chrono::milliseconds ttl) const {
        for (const Ballot& ballot : round.ballots) {
            for (const std::int64_t left : ballot.values) {
                ttl = std::max(ttl, std::min(std::chrono::milliseconds{left}, longest_ttl));
            }
        }
        const TimePoint end = engine_.now() + (ttl + drift_of(ttl, engine_.options()));
        for (std::size_t i = 0; i < engine_.size(); ++i) round.keys->expect(i, end);
    }

    EngineType& engine_;
    RoundFactory<Transport, Clock>& rounds_;
};

}  // namespace redlock::inline v0_1::detail
