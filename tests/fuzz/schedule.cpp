// SPDX-License-Identifier: Apache-2.0
// Schedules of the deep simulator. The first eight bytes of the input are the seed of the world; then each
// ten bytes are a fault. No property may be violated.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/fuzz.hpp"
#include "sim/run.hpp"

namespace redlock::test {
namespace {

using sim::Fault;
using sim::Instant;
using sim::Plan;

/// Numbers from the input; zeros behind its end.
class Bytes {
   public:
    explicit Bytes(std::string_view input) : rest_{input} {}

    [[nodiscard]] bool empty() const noexcept { return rest_.empty(); }
    [[nodiscard]] std::uint64_t number(std::size_t size) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < size && !rest_.empty(); ++i) {
            value = value << 8U | static_cast<unsigned char>(rest_.front());
            rest_.remove_prefix(1);
        }
        return value;
    }
    [[nodiscard]] std::uint32_t below(std::uint32_t bound) {
        return static_cast<std::uint32_t>(number(1)) % bound;
    }

   private:
    std::string_view rest_;
};

/// Whether the properties are promised in a world with such a fault.
[[nodiscard]] bool is_allowed(const Plan& plan, Fault::Kind kind) {
    if (Fault::is_of_messages(kind) || kind == Fault::Kind::clock_forward) return false;
    const bool forgets =
        kind == Fault::Kind::crash_lose || kind == Fault::Kind::crash_undo || kind == Fault::Kind::failover;
    if (forgets && (plan.options.restart_quarantine < plan.ttl_max || plan.hides_run_ids)) return false;
    if (kind == Fault::Kind::password && plan.wiring.password.empty()) return false;
    return kind != Fault::Kind::moved || (plan.node_count >= 3 && !plan.hides_run_ids);
}

/// Of the choices that a kind has.
[[nodiscard]] std::int64_t amount_of(const Plan& plan, Fault::Kind kind, std::uint64_t byte) {
    const auto number = static_cast<std::int64_t>(byte);
    switch (kind) {
        case Fault::Kind::refuse: return number % 5;
        case Fault::Kind::password: return number % 3;
        case Fault::Kind::hang_up: return number % 21;
        case Fault::Kind::failover: return number % 7;
        case Fault::Kind::crash_undo: return 1 + number % 6;
        case Fault::Kind::clock_back:
            return std::chrono::microseconds{plan.ttl_max}.count() * (1 + number) / 256;
        case Fault::Kind::client_clock: return (number - 128) * 1'000'000;
        default: return number % 2;
    }
}

[[nodiscard]] Plan plan_of(std::string_view input) {
    Bytes bytes{input};
    Plan plan = sim::plan_of(bytes.number(8), sim::Broken::none, sim::Depth::streams);
    plan.faults.clear();
    plan.operation_count = 1;  // so that many are tried
    plan.wiring.piece_max = std::max<std::size_t>(plan.wiring.piece_max, 1024);
    constexpr std::size_t faults_max = 32;
    while (!bytes.empty() && plan.faults.size() < faults_max) {
        Fault fault;
        fault.kind = static_cast<Fault::Kind>(bytes.below(Fault::kind_count));
        const Instant unit = Instant{plan.ttl} / 16384;
        fault.at = unit * static_cast<std::int64_t>(bytes.number(2));  // at most four ttls
        fault.lasts = unit * static_cast<std::int64_t>(1 + bytes.number(2));
        fault.client = bytes.below(plan.client_count);
        fault.node = bytes.below(plan.node_count);
        fault.links = bytes.number(2) * 0x1002004008001U;
        fault.amount = amount_of(plan, fault.kind, bytes.number(1));
        if (is_allowed(plan, fault.kind)) plan.faults.push_back(fault);
    }
    return plan;
}

}  // namespace

void try_input(std::string_view input) {
    const sim::Outcome outcome = sim::run(plan_of(input));
    if (outcome.violation) {
        must(false, "a schedule violates no property", sim::run(plan_of(input), true).timeline);
    }
}

}  // namespace redlock::test
