// SPDX-License-Identifier: Apache-2.0
// A client over scripted nodes whose calls can run out of memory; the nodes and the transport have enough.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string_view>

#include "memory/failing_memory.hpp"
#include "redlock/custom.hpp"
#include "unit/scripted_world.hpp"

namespace redlock::test {

class ExemptTransport : public ScriptedTransport {
   public:
    using ScriptedTransport::ScriptedTransport;
    detail::Sent send(std::size_t node, std::string_view bytes) {
        const memory::Exempt exempt;
        return ScriptedTransport::send(node, bytes);
    }
    detail::Sent connect(std::size_t node) {
        const memory::Exempt exempt;
        return ScriptedTransport::connect(node);
    }
    [[nodiscard]] bool poll(detail::TransportEvents& events, std::optional<Nanoseconds> timeout) {
        const memory::Exempt exempt;
        return ScriptedTransport::poll(events, timeout);
    }
};

using FrugalRedlock = BasicRedlock<ExemptTransport, ManualClock>;
using FrugalLock = BasicLock<ExemptTransport, ManualClock>;

// Five nodes, and a client that has done everything before.
struct Frugal {
    explicit Frugal(const Options& options = plain_options())
        : locks{std::make_unique<ExemptTransport>(world), options, world.clock} {
        for (int i = 0; i < 3; ++i) {
            auto lock = locks.try_lock("warm-up", 10s);
            EXPECT_TRUE(lock && lock->extend(20s) && lock->unlock());
        }
    }

    // Runs the call with ever more memory until it has enough; says after each whether it had not.
    template <class Call, class Check>
    void with_ever_more_memory(Call call, Check check) {
        for (long count = 0; count < 1'000; ++count) {
            memory::fail_after(count);
            call();
            const bool was_short = memory::has_failed();
            memory::fail_never();
            check(was_short);
            if (!was_short) {
                EXPECT_GT(count, 0) << "or nothing was tried";
                return;
            }
        }
        FAIL() << "there is no end of it";
    }

    World world{5};
    FrugalRedlock locks;
};

}  // namespace redlock::test
