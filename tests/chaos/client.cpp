// SPDX-License-Identifier: Apache-2.0
#include "chaos/client.hpp"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

#include "chaos/section.hpp"
#include "chaos/shared_state.hpp"
#include "redlock/redlock.hpp"

namespace redlock::chaos {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

// Hand-overs to other processes: one file each, in a directory. Who renames a file has it for himself.
class Mailbox {
   public:
    Mailbox(const std::string& directory, std::size_t client)
        : directory_{directory + "/handoffs"}, sender_{std::to_string(client)} {}

    void send(const Handoff& handoff, std::size_t worker, std::uint64_t number) const {
        const auto name = sender_ + "." + std::to_string(worker) + "." + std::to_string(number);
        std::ofstream file{directory_ / ("part." + name)};
        if (!(file << handoff.str()).flush()) throw CannotRun{"cannot write a hand-over: is the disk full?"};
        fs::rename(directory_ / ("part." + name), directory_ / ("from." + name));
    }

    // One that another client has sent, if there is any.
    [[nodiscard]] std::optional<Handoff> receive(std::size_t worker) const {
        for (const auto& entry : fs::directory_iterator{directory_}) {
            const std::string name = entry.path().filename();
            if (!name.starts_with("from.") || name.starts_with("from." + sender_ + ".")) continue;
            const fs::path mine = directory_ / ("taken." + std::to_string(worker));
            std::error_code taken_by_another;
            fs::rename(entry.path(), mine, taken_by_another);
            if (taken_by_another) continue;
            std::ifstream file{mine};
            return Handoff::parse(std::string{std::istreambuf_iterator<char>{file}, {}});
        }
        return std::nullopt;
    }

   private:
    fs::path directory_;
    std::string sender_;
};

class Worker {
   public:
    Worker(const ClientSettings& settings, SharedMemory& shared, Redlock& locks, std::size_t thread)
        : settings_{settings},
          shared_{shared},
          locks_{locks},
          index_{settings.client * threads_per_client + thread},
          slot_{shared->workers.at(index_)},
          mailbox_{settings.directory, settings.client},
          random_{settings.seed * worker_count + index_} {}

    void run(const std::stop_token& stop) {
        stop_ = stop;
        while (!stop.stop_requested()) {
            if (settings_.defects.hang && index_ == 0 && ++rounds_ > 3) pause();
            if (auto handoff = mailbox_.receive(index_)) {
                adopt(*handoff);
            } else {
                acquire();
            }
            enter(Activity::nothing);
        }
    }

   private:
    static void pause() {
        for (;;) ::pause();
    }

    // True once in `count` times.
    [[nodiscard]] bool one_in(std::uint64_t count) { return random_() % count == 0; }
    [[nodiscard]] milliseconds up_to(milliseconds longest) {
        return milliseconds{random_() % static_cast<std::uint64_t>(longest.count() + 1)};
    }

    void enter(Activity activity) {
        slot_.activity = activity;
        slot_.active_at = time_now();
    }

    [[nodiscard]] LockOptions some_options() {
        LockOptions how;
        how.ttl = short_ttl + up_to(longest_ttl - short_ttl);
        how.renew = one_in(2);
        how.wait = up_to(one_in(4) ? longest_wait : longest_wait / 20);
        how.stop = stop_;
        return how;
    }

    void acquire() {
        std::vector<std::string> names{resource_name(random_() % resource_count)};
        const auto other = resource_name(random_() % resource_count);
        if (one_in(6) && other != names.front()) names.push_back(other);
        const LockOptions how = some_options();
        enter(Activity::locking);
        auto lock = one_in(5) ? locks_.try_lock(names, how.ttl) : locks_.lock(names, how);
        if (lock) return hold(*lock, how);
        Counts& counts = shared_->counts;
        if (lock.error() == errc::contended) {
            ++counts.contended;
        } else if (lock.error() == errc::unreachable) {
            ++counts.unreachable;
        } else {
            ++counts.failed_otherwise;
        }
    }

    void adopt(const Handoff& handoff) {
        const LockOptions how = some_options();
        enter(Activity::adopting);
        auto lock =
            one_in(2) ? locks_.adopt(handoff, how) : locks_.adopt(handoff.resources, handoff.token, how);
        ++(lock ? shared_->counts.adopted : shared_->counts.adoptions_failed);
        if (lock) hold(*lock, how);
    }

    void hold(Lock& lock, const LockOptions& how) {
        enter(Activity::holding);
        {
            Section section{shared_, index_, settings_.defects, lock};
            if (!section.is_valid()) return;
            if (settings_.defects.crash && index_ == 0 && ++rounds_ > 3) std::abort();
            if (!section.read()) return;
            // A careless holder does not look at the validity, and trusts in the fence alone.
            const bool is_careless = one_in(4) || settings_.defects.validity;
            work(section, lock, how, is_careless);
            if (section.is_valid() || is_careless) section.write();
        }
        if (one_in(8)) return hand_over(lock);
        enter(Activity::unlocking);
        if (one_in(8)) return;  // the destructor unlocks
        const auto released = lock.unlock();
        if (!released) {
            ++(released.error() == errc::lost ? shared_->counts.unlocked_late
                                              : shared_->counts.unlock_unknown);
        }
    }

    [[nodiscard]] milliseconds some_work(milliseconds ttl) {
        if (settings_.defects.validity) return ttl * 2;
        const std::uint64_t kind = random_() % 200;
        return up_to(kind < 150 ? 4ms : kind < 190 ? 40ms : kind < 196 ? 500ms : ttl * 2);
    }

    // Until a time drawn at random is over; but for a careless holder, or the lock is not valid any more.
    void work(Section& section, Lock& lock, const LockOptions& how, bool is_careless) {
        const Nanoseconds end = time_now() + ns(some_work(how.ttl));
        if (one_in(4)) {
            enter(Activity::extending);
            const auto ttl = std::max(how.ttl, longest_ttl - up_to(500ms));
            ++(lock.extend(ttl) ? shared_->counts.extended : shared_->counts.extensions_failed);
            enter(Activity::holding);
        }
        const std::stop_token lost = is_careless ? std::stop_token{} : lock.lost();
        while (!stop_.stop_requested() && (section.is_valid() || is_careless) && time_now() < end) {
            constexpr Nanoseconds step = ns(20ms);
            const std::chrono::nanoseconds left{std::min(end - time_now(), step)};
            std::unique_lock turn{mutex_};
            changed_.wait_for(turn, lost, left, [] { return false; });
        }
    }

    void hand_over(Lock& lock) {
        enter(Activity::detaching);
        if (const Handoff handoff = lock.detach()) {
            mailbox_.send(handoff, index_, ++sent_);
            ++shared_->counts.handed_over;
        }
    }

    const ClientSettings& settings_;
    SharedMemory& shared_;
    Redlock& locks_;
    std::size_t index_;
    WorkerSlot& slot_;
    Mailbox mailbox_;
    std::mt19937_64 random_;
    std::stop_token stop_;
    std::mutex mutex_;
    std::condition_variable_any changed_;
    std::uint64_t sent_ = 0;
    int rounds_ = 0;
};

Options client_options(const ClientSettings& settings) {
    Options options;
    options.node_timeout = 150ms;
    options.reconnect_max = 200ms;
    options.restart_quarantine = settings.quarantine;
    options.client_name = "chaos-" + std::to_string(settings.client);
    return options;
}

std::vector<std::string> nodes_to_use(const ClientSettings& settings) {
    if (settings.defects.quorum) return {settings.nodes.at(settings.client % node_count)};
    return settings.nodes;
}

[[noreturn]] void end_at_once(std::size_t thread, const std::exception& error, int status) {
    std::fprintf(stderr, "thread %zu: %s\n", thread, error.what());
    std::fflush(stderr);
    std::_Exit(status);
}

}  // namespace

int run_client(const ClientSettings& settings) {
    // A terminal sends these to all processes; the supervisor decides.
    ::signal(SIGINT, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    sigset_t ending;
    ::sigemptyset(&ending);
    ::sigaddset(&ending, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &ending, nullptr);

    SharedMemory shared{settings.directory, SharedMemory::Open::existing};
    Redlock locks{nodes_to_use(settings), client_options(settings)};
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < threads_per_client; ++i) {
        threads.emplace_back([&, i](const std::stop_token& stop) {
            try {
                Worker{settings, shared, locks, i}.run(stop);
            } catch (const CannotRun& error) {
                end_at_once(i, error, exit_cannot_run);
            } catch (const std::exception& error) {
                end_at_once(i, error, 1);
            }
        });
    }
    int signal = 0;
    ::sigwait(&ending, &signal);
    for (auto& thread : threads) thread.request_stop();
    threads.clear();
    return 0;
}

}  // namespace redlock::chaos
