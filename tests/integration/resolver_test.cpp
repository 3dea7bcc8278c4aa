// Host names that are slow to look up. The resolver is the system's, but for one name that answers when the
// test says so.
#include <dlfcn.h>
#include <netdb.h>

#include <condition_variable>
#include <mutex>
#include <string>

#include "integration/fixture.hpp"

namespace redlock::test {
namespace {

constexpr const char* slow_name = "slow.redlock.test";

// What stands between the library and the system's resolver.
struct SlowResolver {
    std::mutex mutex;
    std::condition_variable changed;
    int lookups = 0;
    bool may_answer = false;

    void ask() {
        std::unique_lock lock{mutex};
        ++lookups;
        changed.wait(lock, [this] { return may_answer; });
    }
    void answer() {
        const std::lock_guard lock{mutex};
        may_answer = true;
        changed.notify_all();
    }
    [[nodiscard]] int count() {
        const std::lock_guard lock{mutex};
        return lookups;
    }
};

SlowResolver& slow_resolver() {
    static auto* resolver = new SlowResolver;  // threads that look up may outlive all else
    return *resolver;
}

}  // namespace
}  // namespace redlock::test

extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** list) {
    static const auto real = reinterpret_cast<decltype(&getaddrinfo)>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    const bool is_slow = host != nullptr && std::string{host} == redlock::test::slow_name;
    if (is_slow) redlock::test::slow_resolver().ask();
    return real(is_slow ? "127.0.0.1" : host, service, hints, list);
}

namespace redlock::test {
namespace {

// A first nameserver that is dead costs five seconds, and a connection may take one by default.
TEST(Resolver, R22_an_answer_that_takes_longer_than_a_connection_may_is_used_all_the_same) {
    RedisServer server{{.tcp = true}};
    Options options = brisk();
    options.connect_timeout = 20ms;
    options.reconnect_max = options.reconnect_min = 5ms;
    Redlock<> locks{std::string{"redis://"} + slow_name + ":" + std::to_string(server.port()), options};
    const auto says_that_it_took_too_long = [&] {
        const auto lock = locks.try_lock("name", 60s);
        EXPECT_FALSE(lock);
        return !lock && lock.error().nodes().at(0).detail.find("20 ms") != std::string::npos;
    };
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(eventually(patience, says_that_it_took_too_long));
    EXPECT_EQ(slow_resolver().count(), 1) << "one question at a time";
    slow_resolver().answer();
    EXPECT_TRUE(eventually(patience, [&] { return locks.try_lock("name", 60s).has_value(); }));
    EXPECT_EQ(slow_resolver().count(), 1);
}

}  // namespace
}  // namespace redlock::test
