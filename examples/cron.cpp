// A periodic job that one of many instances runs:  cron URI,URI,... NAME
//
// Start it on as many machines as you like. One instance gets the lock and runs the job every second; the
// others wait. When that instance ends, another takes over at once; when it dies, after the ttl.

#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <iostream>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include <redlock/redlock.hpp>

using namespace std::chrono_literals;

namespace {

void say(std::string_view name, const std::string& what) {
    std::cout << std::string{name} + ": " + what + "\n" << std::flush;
}

/// A long job looks at `lost` now and then, and hands the fencing token on with every write.
void run_job(std::string_view name, std::uint64_t fencing_token, const std::stop_token& lost) {
    if (!lost.stop_requested()) say(name, "runs the job, fencing token " + std::to_string(fencing_token));
}

/// Until the time is over or a stop is requested.
void pause(std::chrono::milliseconds time, const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock{mutex};
    std::condition_variable_any{}.wait_for(lock, stop, time, [] { return false; });
}

void serve(redlock::Redlock<>& locks, std::string_view name, const std::stop_token& stop) {
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
            run_job(name, lock->fencing_token(), lost);
            pause(1s, either.get_token());
        }
        say(name, lost.stop_requested() ? "has lost the lock" : "gives the lock back");
    }
}

/// Ctrl-C and SIGTERM become a stop request, on a thread that does nothing else.
std::stop_source stop_on_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::stop_source stop;
    std::thread{[signals, stop]() mutable {
        int signal = 0;
        sigwait(&signals, &signal);
        stop.request_stop();
    }}.detach();
    return stop;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return std::cerr << "usage: cron URI,URI,... NAME\n", 2;
    const std::stop_source stop = stop_on_signals();
    try {
        redlock::Options options;
        options.fence_ttl = 1min;  // an example's counter; of a job that writes with its token, leave it
        redlock::Redlock locks{std::string{argv[1]}, options};
        serve(locks, argv[2], stop.get_token());
        return 0;
    } catch (const std::invalid_argument& error) {
        std::cerr << error.what() << '\n';
        return 2;
    }
}
