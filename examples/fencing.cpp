// SPDX-License-Identifier: Apache-2.0
// Why a lock alone is not enough, and how fencing helps:  fencing URI,URI,... DATA_URI [option]
//
// A holder is paused just before it writes, for longer than its lock lasts. Another process gets the lock and
// writes. Then the first continues, and still believes that it holds the lock. Without a fence its late write
// succeeds; with one, the data store refuses it. Shown on Redis, and on PostgreSQL where one is available.
// All processes, pauses and writes are real.

#include <signal.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>

#include <redlock/redlock.hpp>

#include "fencing/postgres.hpp"
#include "fencing/process.hpp"
#include "fencing/redis.hpp"
#include "fencing/store.hpp"

using namespace std::chrono_literals;

namespace fencing {

constexpr const char* usage = R"(usage: fencing URI,URI,... DATA_URI [option]

  URI,URI,...              the nodes that lock
  DATA_URI                 the Redis that keeps the data; may be one of them

  --postgres CONNINFO      a PostgreSQL that keeps data, as in "host=/run/postgresql dbname=test"; the example
                           makes a schema there, and drops it
  --no-postgres WHY        why there is none
  --has-postgres           says by its exit status whether this program was built with libpq
)";

constexpr const char* slows_text = "7 screws (slow's, out of date)";
constexpr const char* quicks_text = "3 screws (quick's, right)";

/// The settings that the processes of one run share. The name is new in each run, and nothing else uses it.
struct Scene {
    std::string nodes;
    std::string resource;  ///< the name that is locked
    std::function<std::unique_ptr<Store>()> open_store;
    bool is_fenced = false;
};

void say(std::string_view who, const std::string& what) {
    std::cout << "  " << who << std::string(7 - who.size(), ' ') << what << std::endl;
}

redlock::Redlock make_locks(const Scene& scene) {
    redlock::Options options;
    options.fence_ttl = 1min;  // the nodes need not remember the counters of an example for a day
    return redlock::Redlock{scene.nodes, options};
}

/// Locks, and stops between the last check of the lock and the write. This is the worst moment, and no
/// library can rule it out: a page fault, a garbage collection or the migration of a virtual machine may
/// pause a process there.
void be_slow(const Scene& scene) {
    redlock::Redlock locks = make_locks(scene);
    const auto store = scene.open_store();
    const auto lock = locks.lock(scene.resource, {.ttl = 1s, .wait = 2s}).value();
    const std::uint64_t token = lock.fencing_token();
    if (!lock.owns_lock()) throw std::runtime_error{"the lock is over already"};
    say("slow", "holds the lock for 1 s, token " + std::to_string(token) + "; is paused before it writes");
    ::raise(SIGSTOP);
    const auto written = store->write(slows_text, token, scene.is_fenced);
    if (!written && written.error() != redlock::errc::fenced) throw redlock::Error{written.error()};
    say("slow", std::string{"wakes up and writes: "} + (written ? "done" : "refused"));
    if (!written) say("", written.error().message());
}

/// Locks when the other process's lock has expired, writes and unlocks.
void be_quick(const Scene& scene) {
    redlock::Redlock locks = make_locks(scene);
    const auto store = scene.open_store();
    const auto lock = locks.lock(scene.resource, {.ttl = 2s, .wait = 5s}).value();
    say("quick", "holds the lock after slow's ttl, token " + std::to_string(lock.fencing_token()));
    store->write(quicks_text, lock.fencing_token(), scene.is_fenced).value();
    say("quick", "writes: done; unlocks");
}

Process start(const char* name, void (*role)(const Scene&), const Scene& scene) {
    return Process{[=, &scene] {
        try {
            role(scene);
            return 0;
        } catch (const std::exception& error) {
            std::cerr << "  " << name << ": " << error.what() << std::endl;
            return 1;
        }
    }};
}

void play(const Scene& scene) {
    Process slow = start("slow", be_slow, scene);
    if (!slow.wait()) throw std::runtime_error{"slow could not lock"};
    Process quick = start("quick", be_quick, scene);
    if (!quick.wait()) throw std::runtime_error{"quick could not lock and write"};
    slow.go_on();
    if (!slow.wait()) throw std::runtime_error{"slow could not go on"};
}

/// Runs the scene once without and once with a fence. Leaves nothing in the store, even if it throws.
void show(const std::string& place, Scene scene) {
    for (const bool is_fenced : {false, true}) {
        std::cout << place << (is_fenced ? ", with a fence:" : ", without a fence:") << std::endl;
        scene.is_fenced = is_fenced;
        const auto store = scene.open_store();
        store->prepare();
        std::string text;
        try {
            play(scene);
            text = store->read();
        } catch (...) {
            store->clean_up();
            throw;
        }
        store->clean_up();
        std::cout << "  What is stored: " << text << "\n" << std::endl;
        if (text != (is_fenced ? quicks_text : slows_text)) {
            throw std::runtime_error{"this is not what should have come of it"};
        }
    }
}

struct Settings {
    std::string nodes;
    std::string data;
    std::string postgres;  ///< a connection string; empty: there is no server
    std::string why_no_postgres = "no server was given, see --postgres";
};

Settings parse(int argc, char** argv) {
    if (argc < 3) throw std::invalid_argument{"the nodes and the URI of the data are needed (see --help)"};
    Settings settings{.nodes = argv[1], .data = argv[2], .postgres = {}};
    for (int i = 3; i < argc; i += 2) {
        const std::string option = argv[i];
        if (option != "--postgres" && option != "--no-postgres") {
            throw std::invalid_argument{"there is no option " + option + " (see --help)"};
        }
        if (i + 1 == argc) throw std::invalid_argument{option + " needs a value (see --help)"};
        (option == "--postgres" ? settings.postgres : settings.why_no_postgres) = argv[i + 1];
    }
    constexpr const char* not_built = "this program was built without libpq (libpq-dev on Debian and Ubuntu)";
    if (!has_postgres && !settings.postgres.empty()) throw std::invalid_argument{not_built};
    if (!has_postgres) settings.why_no_postgres = not_built;
    return settings;
}

void run(const Settings& settings) {
    const std::string number = std::to_string(std::random_device{}());
    Scene scene{.nodes = settings.nodes, .resource = "example/stock/" + number, .open_store = {}};
    const redlock::Endpoint data{settings.data};
    // The key differs from the lock's, since the data may be on one of the nodes.
    scene.open_store = [data, key = scene.resource + "/data"] { return std::make_unique<Redis>(data, key); };
    show("Redis", scene);
    if (settings.postgres.empty()) {
        std::cout << "PostgreSQL is left out: " << settings.why_no_postgres << std::endl;
        return;
    }
    scene.open_store = [&settings, number] {
        return open_postgres(settings.postgres, "example_stock_" + number);
    };
    show("PostgreSQL", scene);
}

}  // namespace fencing

int main(int argc, char** argv) {
    const std::string_view first = argc > 1 ? argv[1] : "";
    if (first == "--has-postgres") return fencing::has_postgres ? 0 : 1;
    if (first == "-h" || first == "--help") return std::cout << fencing::usage, 0;
    try {
        const fencing::Settings settings = fencing::parse(argc, argv);
        fencing::Process::block_signals();
        fencing::run(settings);
        return 0;
    } catch (const fencing::Interrupted& by) {
        return 128 + by.signal;
    } catch (const std::invalid_argument& error) {
        std::cerr << "fencing: " << error.what() << '\n';
        return 2;
    } catch (const std::exception& error) {
        std::cerr << "fencing: " << error.what() << '\n';
        return 1;
    }
}
