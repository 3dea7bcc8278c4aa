// SPDX-License-Identifier: Apache-2.0
// A periodic job that one of many instances runs:  cron URI,URI,... NAME [COMMAND]
//
// Start it on as many machines as you like. One instance gets the lock and runs the job every second, COMMAND
// or a line on the screen; the others wait. When that instance ends, another takes over at once; when it
// dies, after the ttl. The first Ctrl-C or SIGTERM lets a job that is running end; the second does not wait
// for it.

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

/// A long job looks at `lost` now and then, and hands the fencing token on with every write.
using Job = std::function<void(std::uint64_t fencing_token, const std::stop_token& lost)>;

Job job_of(const std::string& name, const std::string& command) {
    if (!command.empty()) {
        return [command](auto token, const auto& lost) { cron::run_command(command, token, lost); };
    }
    return [name](auto token, const auto& lost) {
        if (!lost.stop_requested()) say(name, "runs the job, fencing token " + std::to_string(token));
    };
}

/// A job that fails is no reason to end: it is run again when its time has come.
void run(std::string_view name, const Job& job, const redlock::Lock& lock) {
    try {
        job(lock.fencing_token(), lock.lost());
    } catch (const std::exception& error) {
        say(name, std::string{"the job failed: "} + error.what());
    }
}

/// Until the time is over or a stop is requested.
void pause(std::chrono::milliseconds time, const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock{mutex};
    std::condition_variable_any{}.wait_for(lock, stop, time, [] { return false; });
}

void serve(redlock::Redlock& locks, std::string_view name, const Job& job, const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        // The lock is renewed in the background; a job that hangs for a day has it no longer.
        auto lock = locks.lock("example/report",
                               {.ttl = 2s, .wait = 10s, .renew = true, .renew_limit = 24h, .stop = stop});
        if (!lock) {
            // That another has it is as it should be; that nodes are down is worth a line now and then.
            const bool is_usual = lock.error() == redlock::errc::contended || stop.stop_requested();
            if (!is_usual) say(name, lock.error().message());
            continue;
        }
        say(name, "has the lock");
        const std::stop_token lost = lock->lost();
        // Whichever comes first ends the pause between two runs.
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
        options.fence_ttl = 1min;  // an example's counter; of a job that writes with its token, leave it
        redlock::Redlock locks{std::string{argv[1]}, options};
        const std::string name = argv[2];
        serve(locks, name, job_of(name, argc == 4 ? argv[3] : ""), signals.token());
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return dynamic_cast<const std::invalid_argument*>(&error) != nullptr ? 2 : 1;
    }
}
