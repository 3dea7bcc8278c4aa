// SPDX-License-Identifier: Apache-2.0
#include "chaos/section.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>

namespace redlock::chaos {

std::string resource_name(std::size_t index) { return "resource " + std::to_string(index); }

Section::Section(SharedMemory& shared, std::size_t worker, const Defects& defects, const Lock& lock)
    : shared_{shared}, slot_{shared->workers.at(worker)}, worker_{worker}, defects_{defects}, lock_{lock} {
    for (std::size_t i = 0; i < resource_count; ++i) {
        const std::uint64_t token = lock.fencing_token(resource_name(i));
        if (token != 0) holds_.push_back({i, token, 0});
    }
    const Nanoseconds now = time_now();
    const Nanoseconds left = ns(lock.remaining());
    if (left <= 0) return;
    is_open_ = true;
    valid_at_ = now;
    shared_->note_acquisition(slot_, now);
    for (std::size_t i = 0; i < holds_.size(); ++i) {
        OpenHold& open = slot_.holds.at(i);
        open.resource = static_cast<std::uint32_t>(holds_[i].resource);
        open.from = now;
        open.until = now + left;
        open.token = holds_[i].token;
        open.id = shared_->next_hold++;
    }
}

bool Section::is_valid() {
    if (!is_open_) return false;
    // Read before the time that is left: the end is then rather too early than too late.
    const Nanoseconds now = time_now();
    const Nanoseconds left = ns(lock_.remaining());
    slot_.active_at = now;
    if (defects_.validity) return true;
    if (left <= 0) return false;
    valid_at_ = now;
    for (std::size_t i = 0; i < holds_.size(); ++i) slot_.holds[i].until = now + left;
    return true;
}

bool Section::read() {
    for (Hold& hold : holds_) {
        const auto value = shared_->counters.at(hold.resource).read(token_for_fence(hold));
        if (!value) {
            note_refusal(hold);
            return false;
        }
        hold.value = *value;
    }
    return true;
}

void Section::write() {
    for (const Hold& hold : holds_) {
        GuardedCounter& counter = shared_->counters.at(hold.resource);
        if (!counter.write(token_for_fence(hold), hold.value + 1)) return note_refusal(hold);
    }
}

std::uint64_t Section::token_for_fence(const Hold& hold) const {
    return defects_.fence ? std::numeric_limits<std::uint64_t>::max() : hold.token;
}

void Section::note_refusal(const Hold& hold) {
    // The fence has seen a later holder. If this one is valid after that, there were two.
    if (lock_.remaining().count() > 0) {
        ++shared_->counts.valid_refused;
        std::fprintf(stderr, "worker %zu is a valid holder of resource %zu and its token %llu was refused\n",
                     worker_, hold.resource, static_cast<unsigned long long>(hold.token));
    } else {
        ++shared_->counts.late_refused;
    }
}

Nanoseconds Section::end_of_validity() const {
    const Nanoseconds now = time_now();
    const Nanoseconds end = ns(lock_.expires_at().reading(0));
    if (end <= now) return std::max(end, valid_at_);
    ++shared_->counts.ended_early;
    std::fprintf(stderr, "worker %zu lost resource %zu, token %llu, %.3f ms before its time\n", worker_,
                 holds_.front().resource, static_cast<unsigned long long>(holds_.front().token),
                 static_cast<double>(end - now) / 1e6);
    return valid_at_;
}

void Section::leave() {
    if (!is_open_) return;
    is_open_ = false;
    const Nanoseconds now = time_now();
    const bool is_valid = defects_.validity || lock_.remaining().count() > 0;
    if (!is_valid) ++shared_->counts.outlived;
    const Nanoseconds until = is_valid ? now : end_of_validity();
    for (std::size_t i = 0; i < holds_.size(); ++i) {
        OpenHold& open = slot_.holds[i];
        shared_.append(
            {open.id, open.resource, static_cast<std::uint32_t>(worker_), open.from, until, holds_[i].token});
        open.id = 0;
    }
}

}  // namespace redlock::chaos
