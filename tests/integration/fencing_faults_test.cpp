// SPDX-License-Identifier: Apache-2.0
// Fencing tokens while nodes hang, are killed, and restart with their persisted data or with none. The
// clients are processes, as in production.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "integration/fencing_parts.hpp"
#include "support/child_process.hpp"
#include "support/cluster.hpp"
#include "support/eventually.hpp"
#include "support/posix.hpp"
#include "support/seed.hpp"

namespace redlock::test {
namespace {

constexpr std::size_t process_count = 8;

/// A page that the test and its client processes share.
struct Board {
    std::atomic<std::uint64_t> sequence{1};  ///< orders the events of all processes
    std::atomic<std::uint64_t> acquired{0};
    std::atomic<std::uint64_t> wanted{0};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

class SharedBoard {
   public:
    explicit SharedBoard(const std::string& path) {
        const FileDescriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
        if (!file || ::ftruncate(file.get(), sizeof(Board)) != 0) throw_errno("the shared page");
        void* page = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
        if (page == MAP_FAILED) throw_errno("mmap");
        board_ = static_cast<Board*>(page);  // all bytes are zero, which is a valid state of atomic integers
    }
    SharedBoard(const SharedBoard&) = delete;
    SharedBoard& operator=(const SharedBoard&) = delete;
    ~SharedBoard() { ::munmap(board_, sizeof(Board)); }
    Board* operator->() const noexcept { return board_; }

   private:
    Board* board_ = nullptr;
};

// --- a client process --------------------------------------------------------------------------------------

constexpr const char* board_variable = "REDLOCK_TEST_BOARD";
constexpr const char* nodes_variable = "REDLOCK_TEST_NODES";
constexpr const char* history_variable = "REDLOCK_TEST_HISTORY";

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

void be_a_client() {
    const SharedBoard board{variable(board_variable)};
    std::ofstream history{variable(history_variable), std::ios::binary};
    Options options;
    options.node_timeout = 100ms;
    options.retry = {.base = 1ms, .cap = 20ms};
    Redlock locks{variable(nodes_variable), options};
    while (board->acquired < board->wanted) {
        Acquisition one{board->sequence++, 0, 0};
        auto lock = locks.lock("name", {.ttl = 2s, .wait = 5s});
        if (!lock) continue;
        one.ended = board->sequence++;
        one.token = lock->fencing_token();
        history.write(reinterpret_cast<const char*>(&one), sizeof one);
        ++board->acquired;
    }
}

/// The clients run this same program, with a role set in the environment. They must be started by exec, since
/// a forked child of a program with threads may call almost nothing.
[[maybe_unused]] const bool is_the_test = [] {
    if (std::getenv(board_variable) == nullptr) return true;
    int status = 0;
    try {
        be_a_client();
    } catch (const std::exception& error) {
        std::cerr << error.what() << std::endl;
        status = 1;
    }
    std::_Exit(status);
}();

// --- the test
// ------------------------------------------------------------------------------------------------

class Processes {
   public:
    Processes(const std::vector<std::string>& uris, std::uint64_t wanted) {
        board->wanted = wanted;
        std::string nodes;
        for (const std::string& uri : uris) nodes += (nodes.empty() ? "" : ",") + uri;
        const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
        for (std::size_t i = 0; i < process_count; ++i) {
            clients_.push_back(std::make_unique<ChildProcess>(
                Command{{*find_executable("env"), std::string{board_variable} + "=" + board_path_,
                         std::string{nodes_variable} + "=" + nodes,
                         std::string{history_variable} + "=" + history_path(i), self},
                        {},
                        output_path_}));
        }
    }

    [[nodiscard]] bool running() {
        return std::any_of(clients_.begin(), clients_.end(), [](auto& client) { return client->running(); });
    }
    [[nodiscard]] bool all_succeeded() const {
        return std::all_of(clients_.begin(), clients_.end(),
                           [](auto& client) { return client->status() == 0; });
    }
    [[nodiscard]] std::string output() const {
        std::ifstream file{output_path_};
        return {std::istreambuf_iterator<char>{file}, {}};
    }
    [[nodiscard]] std::vector<Acquisition> history() const {
        std::vector<Acquisition> all;
        for (std::size_t i = 0; i < process_count; ++i) {
            std::ifstream file{history_path(i), std::ios::binary};
            for (Acquisition one; file.read(reinterpret_cast<char*>(&one), sizeof one);) all.push_back(one);
        }
        return all;
    }

   private:
    [[nodiscard]] std::string history_path(std::size_t i) const {
        return directory_.file(("history-" + std::to_string(i)).c_str());
    }

    TemporaryDirectory directory_;
    std::string board_path_ = directory_.file("board");
    std::string output_path_ = directory_.file("output");

   public:
    SharedBoard board{board_path_};

   private:
    std::vector<std::unique_ptr<ChildProcess>> clients_;
};

/// Kills and hangs nodes, at most two at a time, while the clients continue.
struct Trouble {
    std::size_t kills = 0;
    std::size_t hangs = 0;

    void make(Cluster& nodes, Processes& clients) {
        std::minstd_rand random{told_seed("trouble")};
        const auto wait_for_some = [&] {
            const std::uint64_t until = clients.board->acquired + 5 + random() % 40;
            const bool is_getting_on =
                eventually(patience, [&] { return clients.board->acquired >= until || !clients.running(); });
            EXPECT_TRUE(is_getting_on) << "a majority is up";
            return is_getting_on && clients.running();
        };
        while (wait_for_some()) {
            std::vector<std::size_t> victims{random() % nodes.size()};
            if (random() % 2 == 0) victims.push_back((victims[0] + 1 + random() % 4) % nodes.size());
            for (const std::size_t victim : victims) {
                const bool is_kill = random() % 2 == 0;
                is_kill ? nodes[victim].kill() : nodes[victim].pause();
                ++(is_kill ? kills : hangs);
            }
            wait_for_some();
            for (const std::size_t victim : victims) {
                if (nodes[victim].running()) {
                    nodes[victim].resume();
                } else {
                    nodes[victim].restart();
                }
            }
        }
    }
};

void expect_order_among_processes_and_failing_nodes() {
    ServerOptions options;
    options.append_only = true;
    Cluster nodes{5, options};
    const std::uint64_t wanted = is_long() ? 10'000 : 600;
    Processes clients{nodes.uris(), wanted};
    Trouble trouble;
    trouble.make(nodes, clients);
    ASSERT_TRUE(eventually(patience, [&] { return !clients.running(); }));
    EXPECT_TRUE(clients.all_succeeded()) << clients.output();
    const Judgement judgement = judge(clients.history());
    std::cout << judgement.acquisitions << " acquisitions by " << process_count << " processes, "
              << trouble.kills << " kills and restarts, " << trouble.hangs
              << " hangs: " << judgement.duplicates << " duplicate tokens, " << judgement.order_errors
              << " out of order" << std::endl;
    EXPECT_GE(judgement.acquisitions, wanted);
    EXPECT_EQ(judgement.duplicates, 0U);
    EXPECT_EQ(judgement.order_errors, 0U);
    EXPECT_GT(trouble.kills + trouble.hangs, 0U);
}

TEST(FencingFaults, tokens_grow_among_processes_while_nodes_are_killed_restarted_and_hung) {
    expect_order_among_processes_and_failing_nodes();
}
TEST(FencingFaultsLong, tokens_grow_among_processes_while_nodes_are_killed_restarted_and_hung) {
    expect_order_among_processes_and_failing_nodes();
}

// The quorum is a node that lost the counter and one that never had it. Only the clock is left, and suffices.
TEST(FencingFaults, the_clock_is_the_floor_where_a_node_lost_its_data) {
    Cluster nodes{3};
    std::uint64_t last = 0;
    for (std::size_t round = 0; round < 4; ++round) {
        const std::size_t forgets = round % 3;
        const std::size_t knows = (round + 1) % 3;
        const std::size_t sleeps = (round + 2) % 3;
        nodes[sleeps].kill();  // never gets the first token
        {
            Redlock locks{nodes.uris(), fencing_options()};
            const auto lock = locks.lock("name", {.ttl = 10s, .wait = 5s});
            ASSERT_TRUE(lock) << lock.error().message();
            EXPECT_GT(lock->fencing_token(), last);
            last = lock->fencing_token();
        }
        nodes[forgets].restart(Data::discard);
        nodes[knows].kill();
        nodes[sleeps].restart(Data::discard);
        {
            const std::uint64_t before = static_cast<std::uint64_t>(LeaseClock::wall_us());
            Redlock locks{nodes.uris(), fencing_options()};
            const auto lock = locks.lock("name", {.ttl = 10s, .wait = 5s});
            ASSERT_TRUE(lock) << lock.error().message();
            EXPECT_GT(lock->fencing_token(), last);
            EXPECT_GE(lock->fencing_token(), before);
            last = lock->fencing_token();
        }
        nodes.restart_all(Data::discard);
    }
}

// Durable counters need no clock: each client's clock is an hour behind that of the one before.
TEST(FencingFaults, what_was_persisted_needs_no_clock) {
    ServerOptions options;
    options.append_only = true;
    Cluster nodes{3, options};
    std::uint64_t last = 0;
    for (std::size_t round = 0; round < 3; ++round) {
        Watched client{nodes.uris(), fencing_options(), -1h * static_cast<std::int64_t>(round)};
        {
            const auto lock = client.locks.lock("name", {.ttl = 10s, .wait = 5s});
            ASSERT_TRUE(lock) << lock.error().message();
            EXPECT_GT(lock->fencing_token(), last);
            last = lock->fencing_token();
        }
        nodes.restart_all(Data::keep);
    }
}

}  // namespace
}  // namespace redlock::test
