// SPDX-License-Identifier: Apache-2.0
#include "sim/run.hpp"
#include "sim/deep/transport.hpp"
#include "sim/world.hpp"

namespace redlock::sim {

Outcome run_on_streams(const Plan& plan, bool is_told) {
    return World<deep::StreamFloor>{plan, is_told}.run();
}

}  // namespace redlock::sim
