// SPDX-License-Identifier: Apache-2.0
// The latencies of one run, and their quantiles.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <vector>

namespace redlock::bench {

using SteadyClock = std::chrono::steady_clock;

// Keeps the latest `capacity` samples, and the number of all samples. Allocates its memory at the start, so
// that it does not add to the measured growth of the process.
class Latencies {
   public:
    explicit Latencies(std::size_t capacity = std::size_t{1} << 15U) : microseconds_(capacity) {}

    void add(SteadyClock::duration latency) {
        microseconds_[count_ % microseconds_.size()] =
            std::chrono::duration<double, std::micro>(latency).count();
        ++count_;
    }
    [[nodiscard]] std::size_t count() const noexcept { return count_; }

    // The kept samples of several recorders, sorted together.
    [[nodiscard]] static std::vector<double> sorted(const std::vector<Latencies>& recorders) {
        std::vector<double> all;
        for (const auto& recorder : recorders) {
            const auto kept = std::min(recorder.count_, recorder.microseconds_.size());
            all.insert(all.end(), recorder.microseconds_.begin(),
                       recorder.microseconds_.begin() + static_cast<std::ptrdiff_t>(kept));
        }
        std::sort(all.begin(), all.end());
        return all;
    }

   private:
    std::vector<double> microseconds_;
    std::size_t count_ = 0;
};

// The q-quantile of sorted values; 0 if there are none.
[[nodiscard]] inline double quantile(const std::vector<double>& sorted, double q) {
    if (sorted.empty()) return 0;
    return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

}  // namespace redlock::bench
