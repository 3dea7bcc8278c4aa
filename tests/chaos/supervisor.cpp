// SPDX-License-Identifier: Apache-2.0
#include "chaos/supervisor.hpp"

#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <stdexcept>

namespace redlock::chaos {
namespace {

using namespace std::chrono_literals;

// How often faults are begun and ended, and everything is looked at.
constexpr auto tick = 10ms;
constexpr auto look_every = 100ms;
constexpr auto progress_every = 5s;

// What remains after the last fault: a quarantine, a lease, a wait; the rest is for a machine that is busy.
constexpr auto recovery_bound = 20s;
// Within this somebody acquires while at most a minority of the nodes is in trouble.
constexpr auto progress_bound = 15s;

double seconds(Nanoseconds time) { return static_cast<double>(time) / 1e9; }

}  // namespace

Supervisor::Supervisor(const RunSettings& settings, const EndSignals& signals)
    : settings_{settings},
      signals_{signals},
      random_{settings.seed},
      shared_{directory_.path().string(), SharedMemory::Open::create},
      clients_{{0, settings.seed, 0ms, settings.defects, directory_.path().string(), nodes_.uris()},
               *shared_} {
    ::signal(SIGPIPE, SIG_IGN);  // hiredis may write to a connection that a server has closed
    std::filesystem::create_directory(directory_.path() / "handoffs");
}

bool Supervisor::run() {
    began_at_ = progress_at_ = time_now();
    for (const Part& part : parts_of(settings_.lasts)) {
        if (violation_count() == 0) run_part(part);
    }
    expect_no_keys();
    return violation_count() == 0;
}

void Supervisor::run_part(const Part& part) {
    std::printf("%6.1f s  part: %s\n", seconds(time_now() - began_at_), part.name);
    std::fflush(stdout);
    const auto plan = plan_of(part, random_);
    clients_.set_quarantine(part.quarantine);
    clients_.start_all();
    nodes_.set_quarantine(quarantine_of_restarted(part));
    expect_everybody_to_acquire();
    while (nodes_.in_trouble() > 0 && !is_to_stop()) wait(tick);  // as the plan presumes
    shared_->overall.since = time_now();
    play(plan, part.lasts);
    clients_.heal();
    nodes_.heal();
    expect_everybody_to_acquire();
    count_gaps(false);
    shared_->overall.note(shared_->last_acquisition, time_now());
    shared_->overall.since = Gap::not_counted;
    clients_.stop_all();
    look();
    compare_counters();
}

void Supervisor::play(const std::vector<Fault>& plan, std::chrono::milliseconds lasts) {
    const Nanoseconds began = time_now();
    std::vector<const Fault*> active;
    auto next = plan.begin();
    while (!is_to_stop() && time_now() - began < ns(lasts)) {
        const Nanoseconds now = time_now() - began;
        const auto over = std::partition(active.begin(), active.end(), [now](const Fault* fault) {
            return now < ns(fault->at + fault->lasts);
        });
        const std::vector<const Fault*> ended{over, active.end()};
        active.erase(over, active.end());
        for (const Fault* fault : ended) end(*fault);
        for (; next != plan.end() && ns(next->at) <= now; ++next) {
            const std::size_t struck = is_of_client(next->kind) ? 0 : next->targets.size();
            // A restart may have taken longer than the plan allows for.
            const std::size_t allowed = struck > minority ? node_count : minority;
            if (struck > 0 && nodes_.in_trouble() + struck > allowed) {
                ++faults_left_out_;
                continue;
            }
            begin(*next);
            active.push_back(&*next);
        }
        count_gaps(nodes_.in_trouble() <= minority);
        wait(tick);
    }
    for (const Fault* fault : active) end(*fault);
}

void Supervisor::begin(const Fault& fault) {
    faults_.at(static_cast<std::size_t>(fault.kind)) += fault.targets.size();
    if (is_of_client(fault.kind)) return clients_.begin(fault);
    if (fault.targets.size() > minority) {
        ++faults_of_majority_;
        count_gaps(false);
    }
    nodes_.begin(fault);
}

void Supervisor::end(const Fault& fault) {
    if (is_of_client(fault.kind)) return clients_.end(fault);
    nodes_.end(fault);
}

// --- looking -----------------------------------------------------------------------------------------------

void Supervisor::wait(std::chrono::nanoseconds longest) {
    if (signals_.arrived_within(longest)) throw std::runtime_error{"interrupted"};
    if (time_now() - looked_at_ >= ns(look_every)) look();
}

void Supervisor::look() {
    looked_at_ = time_now();
    read_records();
    for (const auto& problem : clients_.problems()) violate(problem);
    const std::uint64_t refused = shared_->counts.valid_refused;
    if (refused > valid_refused_seen_) violate("a fence refused the token of a valid holder");
    valid_refused_seen_ = refused;
    for (; printed_of_judge_ < judge_.violations().size(); ++printed_of_judge_) {
        std::printf("VIOLATION: %s\n", judge_.violations()[printed_of_judge_].c_str());
    }
    if (const auto ended = nodes_.ended_by_itself()) throw std::runtime_error{*ended};
    if (looked_at_ - progress_at_ >= ns(progress_every)) print_progress();
    std::fflush(stdout);
}

void Supervisor::read_records() {
    while (const auto record = shared_.next_record()) judge_.add(*record);
    // After the records: a client may have been killed just after it had written one of the same hold.
    for (const HoldRecord& hold : clients_.take_abandoned_holds()) judge_.add(hold);
    judge_.forget_before(time_now() - ns(60s));
}

void Supervisor::compare_counters() {
    for (std::size_t i = 0; i < resource_count; ++i) {
        const GuardedCounter& counter = shared_->counters[i];
        if (counter.value() == counter.admitted_writes()) continue;
        violate("lost updates: counter " + std::to_string(i) + " is " + std::to_string(counter.value()) +
                " after " + std::to_string(counter.admitted_writes()) + " writes");
    }
}

void Supervisor::count_gaps(bool is_minority) {
    Gap& gap = shared_->minority;
    if (is_minority && gap.since == Gap::not_counted) gap.since = time_now();
    gap.note(shared_->last_acquisition, time_now());
    if (!is_minority) gap.since = Gap::not_counted;
    if (gap.longest < ns(progress_bound)) return;
    violate("nobody acquired for " + std::to_string(seconds(gap.longest)) +
            " s, while at most a minority of the nodes was in trouble: " + nodes_.troubles());
    gap.longest = 0;
}

void Supervisor::expect_everybody_to_acquire() {
    const Nanoseconds began = time_now();
    const auto has_acquired = [&](const WorkerSlot& worker) { return worker.acquired_at > began; };
    const auto& workers = shared_->workers;
    while (!is_to_stop() && !std::all_of(workers.begin(), workers.end(), has_acquired)) {
        if (time_now() - began > ns(recovery_bound)) {
            const auto left_out = std::count_if(workers.begin(), workers.end(), std::not_fn(has_acquired));
            return violate(std::to_string(left_out) + " workers got no lock although all is well");
        }
        wait(tick);
    }
    longest_recovery_ = std::max(longest_recovery_, std::chrono::nanoseconds{time_now() - began});
}

void Supervisor::expect_no_keys() {
    const Nanoseconds began = time_now();
    for (auto keys = nodes_.keys_left(); !keys.empty(); keys = nodes_.keys_left()) {
        if (time_now() - began > ns(recovery_bound)) {
            return violate(std::to_string(keys.size()) + " keys are left, the first at " + keys.front());
        }
        wait(look_every);
    }
}

void Supervisor::violate(const std::string& what) {
    violations_.push_back(what);
    std::printf("VIOLATION: %s\n", what.c_str());
    std::fflush(stdout);
}

std::size_t Supervisor::violation_count() const {
    return violations_.size() + judge_.two_holders() + judge_.tokens_out_of_order();
}

bool Supervisor::is_to_stop() const {
    // What a missing fence leads to is seen at the end of a part; another violation may come before.
    return violation_count() > 0 && !settings_.defects.fence;
}

// --- the report --------------------------------------------------------------------------------------------

void Supervisor::print_progress() {
    progress_at_ = time_now();
    std::size_t faults = 0;
    for (const std::size_t count : faults_) faults += count;
    std::printf("%6.1f s  %zu faults, %llu acquisitions, %zu violations; in trouble: %s\n",
                seconds(progress_at_ - began_at_), faults,
                static_cast<unsigned long long>(shared_->counts.acquired), violation_count(),
                nodes_.in_trouble() == 0 ? "none" : nodes_.troubles().c_str());
}

void Supervisor::report() {
    std::printf("\nfaults:\n");
    for (std::size_t i = 0; i < fault_kind_count; ++i) {
        std::printf("  %6zu  %s\n", faults_[i], to_string(static_cast<FaultKind>(i)));
    }
    std::printf("  of them %zu times a majority at once; %zu left out, since nodes came back late\n",
                faults_of_majority_, faults_left_out_);
    const Counts& counts = shared_->counts;
    const auto line = [](const char* what, const Counts::Count& count) {
        std::printf("  %8llu  %s\n", static_cast<unsigned long long>(count), what);
    };
    std::printf("clients:\n");
    line("acquisitions, adoptions among them", counts.acquired);
    line("attempts that failed: contended", counts.contended);
    line("… unreachable", counts.unreachable);
    line("… too slow, or cancelled at the end of a part", counts.failed_otherwise);
    line("extensions", counts.extended);
    line("extensions that failed", counts.extensions_failed);
    line("locks handed over", counts.handed_over);
    line("… and adopted by another process", counts.adopted);
    line("adoptions that failed", counts.adoptions_failed);
    line("holders that outlived their validity", counts.outlived);
    line("… whose validity a quorum ended before its time", counts.ended_early);
    line("late reads and writes that the fence refused", counts.late_refused);
    line("releases that found the lock lost", counts.unlocked_late);
    line("releases that no quorum confirmed", counts.unlock_unknown);
    std::uint64_t sections = 0;
    for (const GuardedCounter& counter : shared_->counters) sections += counter.admitted_writes();
    std::printf("  %8llu  writes to the guarded counters\n", static_cast<unsigned long long>(sections));
    std::printf("  %8zu  intervals of validity compared\n", judge_.judged());
    std::printf(
        "longest time in which nobody acquired: %.3f s; while at most %zu nodes were in trouble: %.3f s\n",
        seconds(shared_->overall.longest), minority, seconds(shared_->minority.longest));
    std::printf("longest time until every worker had a lock after the faults: %.3f s\n",
                seconds(longest_recovery_.count()));
    std::printf("violations: %zu two holders, %zu tokens out of order, %zu others\n", judge_.two_holders(),
                judge_.tokens_out_of_order(), violations_.size());
    for (std::size_t i = 0; i < client_count; ++i) {
        const auto output = clients_.output_of(i);
        if (!output.empty()) std::printf("client %zu has printed:\n%s\n", i, output.c_str());
    }
    std::fflush(stdout);
}

}  // namespace redlock::chaos
