// SPDX-License-Identifier: Apache-2.0
// A periodic job that one of many instances runs:  cron URI,URI,... NAME [COMMAND]
//
// Start it on any number of machines. One instance gets the lock and runs the job every second: COMMAND, or a
// line on the screen. The others wait. When that instance ends, another takes over at once; when it crashes,
// after the ttl. A first Ctrl-C or SIGTERM ends the program after the running job, a second one at once.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>

#include <redlock/redlock.hpp>

#include "cron/command.hpp"
#include "cron/stop_on_signals.hpp"

using namespace std::chrono_literals;

namespace {

void say(std::string_view name, const std::string& what) {
    std::cout << std::string{name} + ": " + what + "\n" << std::flush;
}

/// A long job should check `lost` now and then, and send the fencing token with every write.
using Job = std::function<void(std::uint64_t fencing_token, const std::stop_token& lost)>;

Job job_of(const std::string& name, const std::string& command) {
    if (!command.empty()) {
        return [command](auto token, const auto& lost) { cron::run_command(command, token, lost); };
    }
    return [name](auto token, const auto& lost) {
        if (!lost.stop_requested()) say(name, "runs the job, fencing token " + std::to_string(token));
    };
}

/// Runs the job once. A job that fails does not end the program: it is run again at its next time.
void run(std::string_view name, const Job& job, const redlock::Lock& lock) {
    try {
        job(lock.fencing_token(), lock.lost());
    } catch (const std::exception& error) {
        say(name, std::string{"the job failed: "} + error.what());
    }
}

/// Returns when the time is over or a stop is requested.
void pause(std::chrono::milliseconds time, const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock{mutex};
    std::condition_variable_any{}.wait_for(lock, stop, time, [] { return false; });
}

void serve(redlock::Redlock& locks, std::string_view name, const Job& job, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        // The lock is renewed in the background, for at most a day in case a job hangs.
        auto lock = locks.lock("example/report",
                               {.ttl = 2s, .wait = 10s, .renew = true, .renew_limit = 24h, .stop = stop});
        if (!lock) {
            // It is normal that another instance has the lock. Nodes that are down are reported.
            const bool is_usual = lock.error() == redlock::errc::contended || stop.stop_requested();
            if (!is_usual) say(name, lock.error().message());
            continue;
        }
        say(name, "has the lock");
        const std::stop_token lost = lock->lost();
        // A stop or the loss of the lock ends the pause between two runs.
        std::stop_source either;
        const std::stop_callback on_stop{stop, [&] { either.request_stop(); }};
        const std::stop_callback on_lost{lost, [&] { either.request_stop(); }};
        while (!either.stop_requested()) {
            run(name, job, *lock);
            pause(1s, either.get_token());
        }
        say(name, lost.stop_requested() ? "has lost the lock" : "gives the lock back");
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3 && argc != 4) return std::cerr << "usage: cron URI,URI,... NAME [COMMAND]\n", 2;
    try {
        const cron::StopOnSignals signals;
        redlock::Options options;
        // Short, since this is an example; keep the default where a job's writes carry the token.
        options.fence_ttl = 1min;
        redlock::Redlock locks{std::string{argv[1]}, options};
        const std::string name = argv[2];
        serve(locks, name, job_of(name, argc == 4 ? argv[3] : ""), signals.token());
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return dynamic_cast<const std::invalid_argument*>(&error) != nullptr ? 2 : 1;
    }
}
