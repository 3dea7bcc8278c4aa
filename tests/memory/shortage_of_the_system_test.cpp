// SPDX-License-Identifier: Apache-2.0
// A process without descriptors, without threads, or whose sockets fail for want of memory in the kernel.
// Each test runs in a process of its own, which has nothing else that could be refused.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "integration/fixture.hpp"
#include "memory/child.hpp"
#include "memory/failing_system.hpp"
#include "redlock/hiredis/transport.hpp"
#include "support/posix.hpp"

namespace redlock::test {
namespace {

// Checks in a child: the number of the first that did not hold, or 0.
class Checks {
   public:
    void hold(bool holds) {
        ++count_;
        if (!holds && first_ == 0) first_ = count_;
    }
    [[nodiscard]] int result() const { return first_; }

   private:
    int count_ = 0;
    int first_ = 0;
};

void expect_all(const std::function<void(Checks&)>& work) {
    const ChildEnd end = run_in_child([&] {
        Checks checks;
        work(checks);
        return checks.result();
    });
    EXPECT_TRUE(end.returned(0)) << "the check of this number does not hold, or: " << end.text();
}

// Takes all descriptors that the process may have.
class NoDescriptors {
   public:
    NoDescriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const rlimit few{100, before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &few);
        while (taken_.empty() || taken_.back()) {
            taken_.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        }
        taken_.pop_back();
    }
    NoDescriptors(const NoDescriptors&) = delete;
    NoDescriptors& operator=(const NoDescriptors&) = delete;
    ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

    void leave(std::size_t count) { taken_.resize(taken_.size() - count); }

   private:
    rlimit before_{};
    std::vector<FileDescriptor> taken_;
};

// A child may leave a key behind, on a node that it cannot reach: it ends by its ttl, and concerns no other
// child.
[[nodiscard]] std::string own_name() { return "name-" + std::to_string(::getpid()); }

[[nodiscard]] bool works(Redlock& locks) {
    return eventually(patience, [&] {
        auto lock = locks.try_lock(own_name(), 10s);
        return lock && lock->extend(20s) && lock->unlock();
    });
}

class ShortageOfTheSystem : public testing::Test {
   protected:
    static void SetUpTestSuite() { cluster = new Cluster{3, {.tcp = true}}; }
    static void TearDownTestSuite() {
        delete cluster;
        cluster = nullptr;
    }

    // By name, so that they are looked up.
    [[nodiscard]] static std::vector<std::string> names() {
        std::vector<std::string> uris;
        for (RedisServer& node : *cluster) {
            uris.push_back("redis://localhost:" + std::to_string(node.port()));
        }
        return uris;
    }

    static inline Cluster* cluster = nullptr;
};

// ---- descriptors
// -------------------------------------------------------------------------------------------

TEST_F(ShortageOfTheSystem, No_descriptors_for_a_client_is_an_exception_and_none_is_kept) {
    expect_all([](Checks& checks) {
        bool is_made = false;
        std::size_t wanted = 0;
        for (; !is_made && wanted < 20; ++wanted) {
            const long before = open_descriptors();
            {
                NoDescriptors none;
                none.leave(wanted);
                try {
                    const Redlock locks{cluster->uris(), patient()};
                    is_made = true;
                } catch (const std::system_error& error) {
                    checks.hold(error.code().value() == EMFILE);
                }
            }
            checks.hold(open_descriptors() == before);
        }
        checks.hold(is_made && wanted > 1);
    });
}

TEST_F(ShortageOfTheSystem, No_descriptors_for_connections_costs_the_votes_that_need_them) {
    for (const std::size_t left : {0U, 1U, 2U}) {
        expect_all([left](Checks& checks) {
            Redlock locks{cluster->uris(), patient()};
            {
                NoDescriptors none;
                none.leave(left);
                const auto lock = locks.try_lock(own_name(), 10s);
                checks.hold(lock.has_value() == (left >= 2));
                checks.hold(lock || lock.error().code() == errc::unreachable);
                checks.hold(lock || lock.error().message().find("open files") != std::string::npos);
            }
            checks.hold(works(locks));
        });
    }
}

TEST_F(ShortageOfTheSystem, No_descriptors_for_a_name_look_up_is_no_answer_that_lasts) {
    expect_all([](Checks& checks) {
        Redlock locks{names(), patient()};
        {
            const NoDescriptors none;
            const auto lock = locks.try_lock(own_name(), 10s);
            checks.hold(!lock && lock.error().code() == errc::unreachable);
        }
        checks.hold(works(locks));
    });
}

struct NoEvents final : redlock::detail::TransportEvents {
    void on_waiting() override {}
    bool on_awake() override { return true; }
    void on_reply(std::size_t, const redlock::detail::Reply&) override {}
    void on_up(std::size_t, const redlock::detail::NodeInfo&) override {}
    void on_down(std::size_t, const redlock::detail::Fault&) override {}
    void on_message(std::size_t, std::string_view) override {}
};

TEST_F(ShortageOfTheSystem, No_descriptor_for_a_take_over_is_none_and_the_next_can_be_had) {
    expect_all([](Checks& checks) {
        hiredis::Transport transport{{Endpoint{cluster->uris().front()}}, patient()};
        NoEvents events;
        checks.hold(transport.poll(events, 0ns));
        const auto late = std::chrono::steady_clock::now() + 5ms;
        checks.hold(eventually(patience, [&] { return std::chrono::steady_clock::now() > late; }));
        {
            const NoDescriptors none;
            checks.hold(!transport.take_over());
        }
        checks.hold(transport.take_over());
    });
}

// ---- the kernel's memory
// -------------------------------------------------------------------------------------

// Where the node that was connected last has no key, the others are the quorum, and one of them may not
// confirm.
[[nodiscard]] bool is_done_or_unknown(const Result<void>& result) {
    return result || result.error().code() == errc::unknown;
}

// A failure at each call in turn costs one node its vote at most.
TEST_F(ShortageOfTheSystem, A_socket_that_fails_for_want_of_memory_costs_one_vote) {
    for (const SystemCall call : {SystemCall::socket, SystemCall::send, SystemCall::recv}) {
        for (const int error : {ENOBUFS, ENOMEM}) {
            bool has_refused = true;
            for (long after = 0; has_refused; ++after) {
                ASSERT_LT(after, 500) << "there is no end of it";
                constexpr int was_refused = 50;
                const ChildEnd end = run_in_child([&] {
                    Checks checks;
                    const long before = open_descriptors();
                    bool was = false;
                    {
                        Redlock locks{cluster->uris(), patient()};
                        {
                            const Refused refused{call, error, after, true};
                            auto lock = locks.try_lock(own_name(), 10s);
                            checks.hold(lock.has_value());
                            checks.hold(lock && is_done_or_unknown(lock->extend(20s)));
                            checks.hold(lock && is_done_or_unknown(lock->unlock()));
                            was = refused.has_refused();
                        }
                        checks.hold(works(locks));
                    }
                    checks.hold(open_descriptors() == before);
                    return checks.result() != 0 ? checks.result() : was ? was_refused : 0;
                });
                has_refused = end.returned(was_refused);
                EXPECT_TRUE(has_refused || end.returned(0)) << "call " << after << ": " << end.text();
            }
        }
    }
}

TEST_F(ShortageOfTheSystem, Sockets_that_all_fail_for_want_of_memory_are_nodes_that_cannot_be_reached) {
    for (const SystemCall call : {SystemCall::socket, SystemCall::send, SystemCall::recv}) {
        expect_all([call](Checks& checks) {
            Redlock locks{cluster->uris(), patient()};
            {
                const Refused refused{call, ENOBUFS};
                const auto lock = locks.try_lock(own_name(), 10s);
                checks.hold(!lock && lock.error().code() == errc::unreachable);
                checks.hold(refused.has_refused());
            }
            checks.hold(works(locks));
            auto lock = locks.try_lock("held-" + own_name(), 10s);
            checks.hold(lock.has_value());
            {
                const Refused refused{call == SystemCall::socket ? SystemCall::send : call, ENOBUFS};
                const auto extension = lock->extend(20s);
                checks.hold(!extension && extension.error().code() == errc::unknown);
                checks.hold(!lock->unlock());
            }
            checks.hold(works(locks));
        });
    }
}

// ---- threads
// -----------------------------------------------------------------------------------------------

TEST_F(ShortageOfTheSystem, No_thread_for_a_name_look_up_is_no_answer_that_lasts) {
    expect_all([](Checks& checks) {
        Redlock locks{names(), patient()};
        {
            const Refused refused{SystemCall::pthread_create, EAGAIN};
            const auto lock = locks.try_lock(own_name(), 10s);
            checks.hold(!lock && lock.error().code() == errc::unreachable);
            checks.hold(!lock && lock.error().message().find("no thread") != std::string::npos);
            checks.hold(refused.has_refused());
        }
        checks.hold(works(locks));
    });
}

TEST_F(ShortageOfTheSystem, R13_nothing_is_adopted_that_could_not_be_renewed) {
    expect_all([](Checks& checks) {
        Redlock locks{cluster->uris(), patient()};
        Handoff handoff;
        {
            // From the beginning: what the first call leaves over may start the thread.
            const Refused refused{SystemCall::pthread_create, EAGAIN};
            if (auto lock = locks.try_lock(own_name(), 60s)) handoff = lock->detach();
            bool has_thrown = false;
            try {
                static_cast<void>(locks.adopt(handoff, {.ttl = 60s, .renew = true}));
            } catch (const std::system_error&) {
                has_thrown = true;
            }
            checks.hold(has_thrown);
        }
        auto adopted = locks.adopt(handoff, {.ttl = 60s, .renew = true});
        checks.hold(adopted && adopted->owns_lock() && adopted->unlock());
    });
}

}  // namespace
}  // namespace redlock::test
