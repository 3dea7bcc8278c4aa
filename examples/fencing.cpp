// Why a lock alone is not enough, and what fencing does about it:  fencing URI,URI,... DATA_URI
//
// A holder is paused just before it writes, for longer than its lock lasts. Another gets the lock and
// writes. Then the first goes on: it still believes that it holds the lock. Without a fence its late write
// goes through; with one, the data node refuses it. All processes, pauses and writes are real.

#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include <redlock/hiredis/fenced.hpp>
#include <redlock/redlock.hpp>

using namespace std::chrono_literals;

namespace {

const std::string resource = "example/stock/" + std::to_string(::getpid());  // the lock, and the key written

/// The Redis that holds the data; not one of those that vote.
class DataNode {
   public:
    explicit DataNode(const redlock::Endpoint& at)
        : connection_{at.scheme() == redlock::Endpoint::Scheme::unix_socket
                          ? redisConnectUnix(at.path().c_str())
                          : redisConnect(at.host().c_str(), at.port())} {
        if (!connection_ || connection_->err != 0)
            throw std::runtime_error{"no connection to " + at.display()};
        if (!at.user().empty()) run("AUTH %s %s", at.user().c_str(), at.password().c_str());
        if (at.user().empty() && !at.password().empty()) run("AUTH %s", at.password().c_str());
        if (at.db() != 0) run("SELECT %u", at.db());
    }

    /// What is in the way of a late writer is the last argument alone: SET, and the token of the lock.
    redlock::Result<void> write(const std::string& value, std::uint64_t token, bool is_fenced) {
        if (!is_fenced) return run("SET %s %s", resource.c_str(), value.c_str()), redlock::Result<void>{};
        auto reply =
            redlock::hiredis::fenced(*connection_, resource + ":fence", token, {"SET", resource, value});
        if (!reply) return reply.error();
        return {};
    }

    std::string read() { return run("GET %s", resource.c_str())->str; }
    void clean_up() { run("DEL %s %s:fence", resource.c_str(), resource.c_str()); }

   private:
    template <class... Arguments>
    redlock::hiredis::ReplyPtr run(const char* format, Arguments... arguments) {
        redlock::hiredis::ReplyPtr reply{
            static_cast<redisReply*>(redisCommand(connection_.get(), format, arguments...))};
        if (!reply) throw std::runtime_error{connection_->errstr};
        if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error{reply->str};
        return reply;
    }

    struct Close {
        void operator()(redisContext* context) const noexcept { redisFree(context); }
    };
    std::unique_ptr<redisContext, Close> connection_;
};

void say(std::string_view who, const std::string& what) {
    std::cout << "  " << who << std::string(7 - who.size(), ' ') << what << std::endl;
}

/// Locks, and stops between the last look at its lock and the write: the worst moment, and one that no
/// library can rule out. A page fault, a garbage collector or a virtual machine on the move stops just so.
int slow_holder(const std::string& nodes, const std::string& data, bool is_fenced) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    redlock::Redlock locks{nodes};
    DataNode node{redlock::Endpoint{data}};
    const auto lock = locks.lock(resource, {.ttl = 1s, .wait = 2s}).value();
    const std::uint64_t token = lock.fencing_token();
    if (!lock.owns_lock()) return 1;
    say("slow", "holds the lock for 1 s, token " + std::to_string(token) + "; is paused before it writes");
    ::raise(SIGSTOP);
    const auto written = node.write("stock: 7 (slow's, out of date)", token, is_fenced);
    say("slow", written ? "wakes up and writes: done" : "wakes up and writes: " + written.error().message());
    return 0;
}

void play(const std::string& nodes, const std::string& data, bool is_fenced) {
    std::cout << (is_fenced ? "With a fence:\n" : "Without a fence:\n") << std::flush;
    const pid_t child = ::fork();  // before there is a Redlock here
    if (child == 0) ::_exit(slow_holder(nodes, data, is_fenced));
    int status = 0;
    ::waitpid(child, &status, WUNTRACED);
    if (!WIFSTOPPED(status)) throw std::runtime_error{"the slow holder could not lock"};

    redlock::Redlock locks{nodes};
    DataNode node{redlock::Endpoint{data}};
    {
        const auto lock = locks.lock(resource, {.ttl = 2s, .wait = 5s}).value();
        say("quick", "holds the lock after slow's ttl, token " + std::to_string(lock.fencing_token()));
        node.write("stock: 3 (quick's, right)", lock.fencing_token(), is_fenced).value();
        say("quick", "writes: done; unlocks");
    }
    ::kill(child, SIGCONT);
    ::waitpid(child, &status, 0);
    std::cout << "  The data node has \"" << node.read() << "\"\n\n" << std::flush;
    node.clean_up();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return std::cerr << "usage: fencing URI,URI,... DATA_URI\n", 2;
    try {
        play(argv[1], argv[2], false);
        play(argv[1], argv[2], true);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
