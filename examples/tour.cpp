// SPDX-License-Identifier: Apache-2.0
// A tour of about twenty seconds: two processes, one lock, five Redis nodes, and what can go wrong.
//
//   ./examples/run.sh                        starts the nodes, and runs this
//   tour --nodes URI,URI,... [option...]     --help says more
//
// The workers are processes of their own (tour/worker.hpp), and the tour shows what they report.

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <redlock/redlock.hpp>

#include "tour/child.hpp"
#include "tour/event.hpp"
#include "tour/screen.hpp"
#include "tour/witness.hpp"
#include "tour/worker.hpp"

namespace tour {

struct Settings {
    std::string nodes;
    std::string kill_node2;  ///< a shell command, as the next two; empty: the step is left out
    std::string hang_node4;
    std::string wake_node4;
    std::string resource;
    redlock::Options options;
    int worker = 0;  ///< not 0: this is a worker process
    int witness_fd = -1;
};

constexpr const char* usage = R"(A tour of redlock: two processes compete for one lock over some Redis nodes.

  tour --nodes URI,URI,...    the nodes, as in redis://10.0.0.1:6379 or unix:///run/redis.sock

  --node-timeout MS           how long a node may take to answer (default 50)
  --kill-node2 COMMAND        what kills the second node for good; without it no node is killed
  --hang-node4 COMMAND        what stops the fourth node without ending it,
  --wake-node4 COMMAND        and what lets it go on
)";

/// One of the two worker processes, and its state.
struct Contender {
    std::string name;
    Style style;
    int number;
    std::unique_ptr<Child> child;
    bool is_resting = true;
};

/// The result of locking and unlocking as fast as one process can.
struct Sprint {
    std::uint64_t count = 0;
    std::chrono::nanoseconds median{0};
};

class Tour {
   public:
    Tour(const Settings& settings, std::size_t node_count)
        : settings_{settings}, screen_{node_count}, node_count_{node_count} {
        begin(alice_);
        begin(bob_);
    }

    /// Runs the tour. Returns the exit status.
    int play() {
        screen_.line(paint(Style::bold, "One lock, two processes, " + std::to_string(node_count_) +
                                            (node_count_ == 1 ? " Redis node" : " Redis nodes")));
        screen_.line("alice is process " + std::to_string(alice_.child->pid()) + ", bob is process " +
                     std::to_string(bob_.child->pid()) + "; they know of each other only through the nodes.");
        screen_.line("A quorum of " + std::to_string(node_count_ / 2 + 1) +
                     " votes makes a lock. The votes:");
        screen_.line("  " + screen_.legend());
        compete_in_peace();
        if (can_break()) compete_over_broken_nodes();
        die_and_take_over();
        if (can_break()) wake_up();
        return sum_up();
    }

   private:
    struct Heard {
        Contender* by = nullptr;  ///< null: a note of the tour itself
        Event event;
    };

    [[nodiscard]] bool can_break() const {
        return !settings_.kill_node2.empty() || !settings_.hang_node4.empty();
    }
    [[nodiscard]] std::string paint(Style style, std::string_view text) const {
        return screen_.paint(style, text);
    }

    // ---- the acts ----------------------------------------------------------------------------------

    void compete_in_peace() {
        screen_.title("1  Both want the lock, time and again. One has it, the other waits.");
        screen_.columns();
        compete_for(4s);
        rest();
        healthy_ = sprint();
    }

    void compete_over_broken_nodes() {
        screen_.title("2  Nodes fail. Nobody waits for them: a quorum is enough.");
        screen_.columns();
        compete_for(700ms);
        if (!settings_.kill_node2.empty()) {
            do_to_node("node 2 is killed:", settings_.kill_node2);
            compete_for(2200ms);
        }
        if (!settings_.hang_node4.empty()) {
            do_to_node("node 4 is hung, its connections open:", settings_.hang_node4);
            compete_for(2700ms);
        }
        rest();
        broken_ = sprint();
    }

    void die_and_take_over() {
        screen_.title(std::string{can_break() ? "3" : "2"} +
                      "  The holder dies. Its lock ends by its ttl of 3 s, and the other takes over.");
        screen_.columns();
        tell(alice_, "hold");
        run_until(10s, [this] { return holder_ == &alice_; });
        if (holder_ != &alice_) throw std::runtime_error{"alice could not get the lock"};
        const auto had_it_at = last_at_;
        run_until(400ms, [] { return false; });
        alice_.child->kill();
        witness_.bury(alice_.number);
        note(paint(Style::bad, "alice is dead:") + " " +
             paint(Style::bold, "kill -9 " + std::to_string(alice_.child->pid())) + "; no unlock was sent");
        is_counting_down_ = true;
        tell(bob_, "take over");
        run_until(10s, [this] { return holder_ == &bob_; });
        is_counting_down_ = false;
        screen_.end_passing();
        if (holder_ == &bob_) takeover_ = last_at_ - had_it_at;
        run_until(350ms, [] { return false; });
        bob_.is_resting = true;
        holder_ = nullptr;
    }

    void wake_up() {
        if (settings_.wake_node4.empty()) return;
        screen_.title("4  The hung node wakes up, and a new alice is started: as if nothing had been.");
        screen_.columns();
        begin(alice_);
        do_to_node("node 4 goes on:", settings_.wake_node4);
        compete_for(2200ms);
        rest();
    }

    int sum_up() {
        show_older_than(std::chrono::nanoseconds::max());
        const auto entries = witness_.entries.load();
        const auto overlaps = witness_.overlaps.load();
        const auto disorders = witness_.disorders.load();
        screen_.title("What you have seen");
        const auto row = [this](const std::string& name, const std::string& value, bool is_good = true) {
            screen_.line("  " + padded(name, 30) + (is_good ? value : paint(Style::bad, value)));
        };
        row("lock, median, healthy", milliseconds(healthy_.median, 0) + ", and " + per_second(healthy_));
        if (broken_) {
            row("with a dead and a hung node",
                milliseconds(broken_->median, 0) + ", and " + per_second(*broken_));
        }
        if (takeover_) {
            row("takeover from a dead holder",
                seconds(*takeover_, 0) + " after it had got the lock; its ttl was 3 s");
        } else {
            row("takeover from a dead holder", "it did not come", false);
        }
        const auto total = entries + healthy_.count + (broken_ ? broken_->count : 0);
        row("acquisitions", std::to_string(total) + ", " + std::to_string(entries) + " of them contested");
        row("two holders at once",
            overlaps == 0 ? "never (checked in memory that both share)" : std::to_string(overlaps) + " times",
            overlaps == 0);
        row("fencing tokens",
            disorders == 0 ? "each above the one before" : std::to_string(disorders) + " out of order",
            disorders == 0);
        if (failures_ > 0) row("attempts that failed", std::to_string(failures_), false);
        screen_.line();
        return takeover_ && overlaps == 0 && disorders == 0 ? 0 : 1;
    }

    // ---- the steps of the acts ---------------------------------------------------------------------

    void begin(Contender& contender) {
        const auto& options = settings_.options;
        contender.is_resting = true;
        contender.child = std::make_unique<Child>(std::vector<std::string>{
            "--worker", std::to_string(contender.number), "--witness", std::to_string(witness_fd_), "--nodes",
            settings_.nodes, "--resource", settings_.resource, "--node-timeout",
            std::to_string(options.node_timeout.count())});
    }

    void tell(Contender& contender, const std::string& command) {
        contender.is_resting = false;
        contender.child->tell(command);
    }

    void compete_for(std::chrono::nanoseconds time) {
        for (Contender* contender : {&alice_, &bob_}) {
            if (contender->is_resting) tell(*contender, "compete");
        }
        run_until(time, [] { return false; });
    }

    /// Waits until both workers have finished their current step.
    void rest() {
        for (Contender* contender : {&alice_, &bob_}) contender->child->tell("rest");
        run_until(10s, [this] { return alice_.is_resting && bob_.is_resting; });
        holder_ = nullptr;
    }

    Sprint sprint() {
        last_sprint_ = {};
        tell(alice_, "sprint");
        run_until(3s, [this] { return last_sprint_.count > 0; });
        alice_.is_resting = true;
        return last_sprint_;
    }

    void do_to_node(const std::string& what, const std::string& command) {
        const bool is_long = command.size() > 50;
        const std::string shown =
            is_long ? command.substr(0, 14) + " ... " + command.substr(command.size() - 14) : command;
        note(paint(Style::bad, what) + " " + paint(Style::bold, shown));
        const pid_t pid = spawn({"/bin/sh", "-c", command}, -1, -1);
        int status = 0;
        pid_t ended = 0;
        run_until(30s, [&] { return (ended = ::waitpid(pid, &status, WNOHANG)) != 0; });
        if (ended != pid || status != 0) throw std::runtime_error{"this failed: " + command};
    }

    /// Shows the workers' reports until `is_done` or the time is over.
    void run_until(std::chrono::nanoseconds limit, const std::function<bool()>& is_done) {
        const auto end = time_now() + limit;
        while (!is_done()) {
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - time_now());
            if (left.count() <= 0) return;
            std::array<pollfd, 2> inputs{};
            std::size_t count = 0;
            for (Contender* contender : {&alice_, &bob_}) {
                if (contender->child->is_running())
                    inputs[count++] = {contender->child->events_fd(), POLLIN, 0};
            }
            ::poll(inputs.data(), count, static_cast<int>(std::min(left, 20ms).count()));
            for (std::size_t i = 0; i < count; ++i) {
                if (inputs[i].revents == 0) continue;
                read_from(inputs[i].fd == alice_.child->events_fd() ? alice_ : bob_);
            }
            show_older_than(time_now() - (settings_.options.node_timeout + 50ms));
        }
    }

    void read_from(Contender& contender) {
        if (!contender.child->read()) {
            throw std::runtime_error{"the process of " + contender.name + " has ended"};
        }
        while (const auto line = contender.child->next_line()) {
            if (const auto event = from_line(*line)) events_.push_back({&contender, *event});
        }
    }

    void note(const std::string& text) {
        events_.push_back({nullptr, {.kind = "note", .at = time_now(), .text = text}});
    }

    /// Shows the events before `time`, in order. A worker reports only after its last votes, so that a later
    /// event of the other one may arrive first.
    void show_older_than(std::chrono::nanoseconds time) {
        const auto is_earlier = [](const Heard& one, const Heard& other) {
            return one.event.at < other.event.at;
        };
        std::stable_sort(events_.begin(), events_.end(), is_earlier);
        while (!events_.empty() && events_.front().event.at < time) {
            const Heard heard = std::move(events_.front());
            events_.pop_front();
            show(heard);
        }
    }

    // ---- output ------------------------------------------------------------------------------------

    void show(const Heard& heard) {
        const Event& event = heard.event;
        if (event.kind == "note") return screen_.line(std::string(11, ' ') + event.text);
        Contender& who = *heard.by;
        if (event.kind == "resting") who.is_resting = true;
        if (event.kind == "holds") show_holder(who, event);
        if (event.kind == "denied") show_denied(who, event);
        if (event.kind == "sprint") {
            last_sprint_ = {event.number, event.duration};
            screen_.line(std::string(11, ' ') + paint(who.style, who.name) +
                         " alone, as fast as it goes: " + paint(Style::bold, per_second(last_sprint_)) +
                         ", median " + paint(Style::bold, milliseconds(event.duration, 0)));
        }
        if (event.kind == "failed") {
            ++failures_;
            screen_.line(row(who, event, "fails") + "  " + event.text);
        }
    }

    void show_holder(Contender& who, const Event& event) {
        holder_ = &who;
        last_at_ = event.at;
        screen_.end_passing();
        screen_.line(row(who, event, "holds") + "    " + milliseconds(event.duration, 9) + "   " +
                     seconds(event.left, 9) + "   " + token(event.number));
    }

    void show_denied(Contender& who, const Event& event) {
        const std::string name = holder_ == nullptr || holder_ == &who ? "the other" : holder_->name;
        std::string text = row(who, event, "waits");
        if (is_counting_down_) {
            const auto steps = static_cast<std::size_t>(event.left / 100ms);
            text += "    the nodes keep it for " + seconds(event.left, 0) + "  " +
                    paint(Style::odd, std::string(std::min<std::size_t>(steps, 30), '='));
            if (screen_.is_terminal()) return screen_.passing_line(text);
            if (last_denied_ != 0ns && event.at - last_denied_ < 450ms) return;
            last_denied_ = event.at;
        } else {
            text += paint(Style::dim,
                          "    while " + name + " has it, for " + seconds(event.left, 0) + " at most");
        }
        screen_.line(text);
    }

    [[nodiscard]] std::string row(const Contender& who, const Event& event, const std::string& what) const {
        const bool is_dim = what == "waits";
        return paint(Style::dim, seconds(event.at - started_, 9)) + "  " +
               paint(who.style, padded(who.name, 5)) + "  " +
               paint(is_dim ? Style::dim : Style::plain, padded(what, 6)) + "  " + screen_.votes(event.votes);
    }

    /// Dims the leading digits that are the same as in the token before.
    std::string token(std::uint64_t number) {
        const std::string digits = std::to_string(number);
        const std::string before = std::exchange(last_digits_, digits);
        const auto [differs, _] = std::mismatch(digits.begin(), digits.end(), before.begin(), before.end());
        const auto same = static_cast<std::size_t>(differs - digits.begin());
        return paint(Style::dim, digits.substr(0, same)) + paint(Style::bold, digits.substr(same));
    }

    [[nodiscard]] static std::string per_second(const Sprint& sprint) {
        return std::to_string(sprint.count) + " locks and unlocks a second";
    }

    Settings settings_;
    Screen screen_;
    std::size_t node_count_;
    int witness_fd_ = make_witness_file();
    Witness& witness_ = map_witness(witness_fd_);
    std::chrono::nanoseconds started_ = time_now();
    Contender alice_{"alice", Style::alice, 1, nullptr, true};
    Contender bob_{"bob", Style::bob, 2, nullptr, true};

    std::deque<Heard> events_;  ///< not shown yet
    const Contender* holder_ = nullptr;
    std::chrono::nanoseconds last_at_{0};
    std::chrono::nanoseconds last_denied_{0};
    bool is_counting_down_ = false;
    std::string last_digits_;
    Sprint last_sprint_;
    Sprint healthy_;
    std::optional<Sprint> broken_;
    std::optional<std::chrono::nanoseconds> takeover_;
    std::uint64_t failures_ = 0;
};

// ---- before the tour -------------------------------------------------------------------------------

/// The votes of all nodes on an attempt to lock, with those that came after the quorum's.
std::vector<redlock::NodeReport> ask_nodes(const Settings& settings, redlock::Redlock& locks) {
    const std::string resource = settings.resource + "/check";
    const auto lock = locks.try_lock(resource, 2s);
    if (lock) {
        std::this_thread::sleep_for(settings.options.node_timeout);  // for the late votes
        return lock->nodes();
    }
    // A failed attempt gets no late votes, so inspect() asks the nodes that had not voted.
    auto votes = lock.error().nodes();
    const auto seen = locks.inspect(resource);
    for (std::size_t i = 0; seen && i < votes.size(); ++i) {
        if (votes[i].vote == redlock::Vote::pending) votes[i] = seen->nodes[i].report;
    }
    return votes;
}

/// Waits until all nodes vote, or for a while until a quorum does. Returns the number of nodes.
std::size_t check_nodes(const Settings& settings) {
    redlock::Redlock locks{settings.nodes, settings.options};
    const auto is_good = [](const redlock::NodeReport& node) { return node.vote == redlock::Vote::granted; };
    const auto end = time_now() + 3s;
    auto nodes = ask_nodes(settings, locks);
    while (!std::all_of(nodes.begin(), nodes.end(), is_good) && time_now() < end) {
        std::this_thread::sleep_for(50ms);
        nodes = ask_nodes(settings, locks);
    }
    std::size_t good = 0;
    for (const redlock::NodeReport& node : nodes) {
        if (is_good(node)) {
            ++good;
            continue;
        }
        std::fprintf(stderr, "tour: %s: %s%s%s\n", node.endpoint.c_str(),
                     std::string{to_string(node.vote)}.c_str(), node.detail.empty() ? "" : ": ",
                     node.detail.c_str());
    }
    if (good <= nodes.size() / 2) throw std::runtime_error{"no quorum of the nodes can be used"};
    return nodes.size();
}

int parse_number(std::string_view option, std::string_view text) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < 0) {
        throw std::invalid_argument{std::string{option} + " needs a number, not '" + std::string{text} + "'"};
    }
    return value;
}

Settings parse(int argc, char** argv) {
    Settings settings;
    settings.resource = "example/tour/" + std::to_string(std::random_device{}());
    settings.options.fence_ttl = 10min;  // the counters of a tour need not be kept for a day
    settings.options.client_name = "redlock-tour";
    for (int i = 1; i < argc; i += 2) {
        const std::string_view option = argv[i];
        if (option == "-h" || option == "--help") {
            std::fputs(usage, stdout);
            std::exit(0);
        }
        if (i + 1 == argc) throw std::invalid_argument{std::string{option} + " needs a value (see --help)"};
        const std::string value = argv[i + 1];
        if (option == "--nodes") {
            settings.nodes = value;
        } else if (option == "--kill-node2") {
            settings.kill_node2 = value;
        } else if (option == "--hang-node4") {
            settings.hang_node4 = value;
        } else if (option == "--wake-node4") {
            settings.wake_node4 = value;
        } else if (option == "--node-timeout") {
            settings.options.node_timeout = std::chrono::milliseconds{parse_number(option, value)};
        } else if (option == "--resource") {
            settings.resource = value;
        } else if (option == "--worker") {
            settings.worker = parse_number(option, value);
        } else if (option == "--witness") {
            settings.witness_fd = parse_number(option, value);
        } else {
            throw std::invalid_argument{"there is no option " + std::string{option} + " (see --help)"};
        }
    }
    if (settings.nodes.empty()) throw std::invalid_argument{"--nodes is missing (see --help)"};
    return settings;
}

int run(int argc, char** argv) {
    const Settings settings = parse(argc, argv);
    if (settings.worker != 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a worker does not outlive the tour
        Worker{{settings.worker, settings.nodes, settings.resource, settings.options},
               map_witness(settings.witness_fd)}
            .run();
        return 0;
    }
    ::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): the pipe of a worker shows that it has ended
    return Tour{settings, check_nodes(settings)}.play();
}

}  // namespace tour

int main(int argc, char** argv) {
    try {
        return tour::run(argc, argv);
    } catch (const std::invalid_argument& error) {
        std::fprintf(stderr, "tour: %s\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "tour: %s\n", error.what());
        return 1;
    }
}
