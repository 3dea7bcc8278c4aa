// SPDX-License-Identifier: Apache-2.0
// Explores every state of each variant in fencing.hpp, breadth first, and prints one table.
//
// Breadth first, so that the first violation found is one with the fewest steps. The set of visited
// states is exact: whole states are stored, packed to the bits they need, and never only a hash.
//
// usage: check [--long] [--markdown] [--only <part of a name>]
// The table and the traces go to stdout, progress to stderr. Exit status 1: an expectation failed.
#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fencing.hpp"

namespace {

using model::Agreement;
using model::Broken;
using model::Forgetting;
using model::Kind;
using model::Model;
using model::PutBack;
using model::State;
using model::Step;

// ---- packing -----------------------------------------------------------------------------------

constexpr std::size_t words_max = 6;
using Packed = std::array<std::uint64_t, words_max>;

[[noreturn]] void die(const char* why) {
    std::fprintf(stderr, "model: %s\n", why);
    std::exit(2);
}

std::size_t words_needed(const Model& m) {
    State state;
    std::size_t used = 0;
    for_each_field(m, state, [&](int&, int bits, int) { used += static_cast<std::size_t>(bits); });
    const std::size_t words = (used + 63) / 64;
    if (words > words_max) {
        die("a state of this model does not fit; raise words_max");
    }
    return words;
}

// Each field is stored as its distance from its least value. A field that this model cannot change
// has no bits and must have that least value.
Packed pack(const Model& m, State& state) {
    Packed packed{};
    std::size_t at = 0;
    for_each_field(m, state, [&](int field, int bits, int least) {
        const auto value = static_cast<std::uint64_t>(field - least);
        if ((value >> bits) != 0) {
            die("a number has outgrown its field");
        }
        const std::size_t shift = at % 64;
        packed[at / 64] |= bits == 0 ? 0 : value << shift;
        if (bits != 0 && shift + static_cast<std::size_t>(bits) > 64) {
            packed[at / 64 + 1] |= value >> (64 - shift);
        }
        at += static_cast<std::size_t>(bits);
    });
    return packed;
}

State unpack(const Model& m, const std::uint64_t* words) {
    State state;
    std::size_t at = 0;
    for_each_field(m, state, [&](int& field, int bits, int least) {
        if (bits == 0) {
            return;
        }
        const std::size_t shift = at % 64;
        std::uint64_t value = words[at / 64] >> shift;
        if (shift + static_cast<std::size_t>(bits) > 64) {
            value |= words[at / 64 + 1] << (64 - shift);
        }
        field = static_cast<int>(value & ((std::uint64_t{1} << bits) - 1)) + least;
        at += static_cast<std::size_t>(bits);
    });
    return state;
}

// ---- the visited states, which are also the queue of the search --------------------------------

class Visited {
   public:
    explicit Visited(std::size_t words) : words_{words}, slots_(1U << 16, 0) {}

    [[nodiscard]] std::uint32_t size() const { return size_; }
    [[nodiscard]] std::uint32_t parent(std::uint32_t i) const { return parents_[i]; }
    [[nodiscard]] const std::uint64_t* state(std::uint32_t i) const {
        return &chunks_[i / per_chunk][(i % per_chunk) * words_];
    }

    [[nodiscard]] std::size_t bytes() const {
        return slots_.capacity() * sizeof slots_[0] + parents_.capacity() * sizeof parents_[0] +
               chunks_.size() * per_chunk * words_ * sizeof(std::uint64_t);
    }

    // True if the state is new.
    bool insert(const Packed& packed, std::uint32_t parent) {
        if (size_ >= slots_.size() / 10 * 7) {
            grow();
        }
        std::uint32_t& slot = find(packed.data());
        if (slot != 0) {
            return false;
        }
        if (size_ == std::numeric_limits<std::uint32_t>::max() - 1) {
            die("too many states");
        }
        if (size_ % per_chunk == 0) {
            chunks_.push_back(std::make_unique<std::uint64_t[]>(per_chunk * words_));
        }
        std::copy_n(packed.data(), words_, &chunks_.back()[(size_ % per_chunk) * words_]);
        parents_.push_back(parent);
        slot = ++size_;  // a slot holds the number plus one: 0 is empty
        return true;
    }

   private:
    static constexpr std::uint32_t per_chunk = 1U << 16;

    [[nodiscard]] std::uint64_t hash(const std::uint64_t* packed) const {
        std::uint64_t h = 0x9e3779b97f4a7c15U;
        for (std::size_t i = 0; i < words_; ++i) {
            h = (std::rotl(h, 29) ^ packed[i]) * 0xbf58476d1ce4e5b9U;
            h ^= h >> 31;
        }
        return h;
    }

    std::uint32_t& find(const std::uint64_t* packed) {
        const std::size_t mask = slots_.size() - 1;
        std::size_t i = hash(packed) & mask;
        while (slots_[i] != 0 && !std::equal(packed, packed + words_, state(slots_[i] - 1))) {
            i = (i + 1) & mask;
        }
        return slots_[i];
    }

    void grow() {
        slots_.assign(slots_.size() * 2, 0);
        for (std::uint32_t i = 0; i < size_; ++i) {
            find(state(i)) = i + 1;
        }
    }

    std::size_t words_;
    std::uint32_t size_ = 0;
    std::vector<std::uint32_t> slots_;
    std::vector<std::uint32_t> parents_;
    std::vector<std::unique_ptr<std::uint64_t[]>> chunks_;
};

// ---- the search --------------------------------------------------------------------------------

struct Outcome {
    Broken broken = Broken::nothing;
    std::uint32_t states = 0;
    int depth = 0;  // of the violation, or of the deepest state
    double seconds = 0;
    std::size_t bytes = 0;
    std::vector<Step> trace;
    std::array<std::uint64_t, static_cast<std::size_t>(Kind::count_)> taken{};
};

double now_s() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

// The states on the path are known up to the nodes' names. Walk it again with names that stay.
std::vector<Step> trace_to(const Model& m, const Visited& visited, std::uint32_t last) {
    std::vector<std::uint32_t> path;
    for (std::uint32_t i = last; i != 0; i = visited.parent(i)) {
        path.insert(path.begin(), i);
    }
    std::vector<Step> trace;
    State current;
    const auto take = [&](auto&& wanted) {
        std::optional<State> found;
        for_each_step(m, current, [&](const Step& step, const State& next) {
            if (!found && wanted(step, next)) {
                found = next;
                trace.push_back(step);
            }
        });
        current = found.value();
    };
    const std::size_t words = words_needed(m);
    for (const std::uint32_t i : path) {
        take([&](const Step& step, State next) {
            sort_nodes(m, next);
            const Packed packed = pack(m, next);
            return step.broken == Broken::nothing &&
                   std::equal(packed.data(), packed.data() + words, visited.state(i));
        });
    }
    take([](const Step& step, const State&) { return step.broken != Broken::nothing; });
    return trace;
}

Outcome explore(const Model& m) {
    const double began_s = now_s();
    double told_s = began_s;
    Outcome outcome;
    Visited visited{words_needed(m)};
    State initial;
    visited.insert(pack(m, initial), 0);

    std::uint32_t end_of_level = 1;
    for (std::uint32_t i = 0; i < visited.size() && outcome.broken == Broken::nothing; ++i) {
        if (i == end_of_level) {
            ++outcome.depth;
            end_of_level = visited.size();
            if (now_s() - told_s > 5) {
                told_s = now_s();
                std::fprintf(stderr, "    depth %d, %u states, %.0f s\n", outcome.depth, visited.size(),
                             told_s - began_s);
            }
        }
        const State state = unpack(m, visited.state(i));
        for_each_step(m, state, [&](const Step& step, State next) {
            if (outcome.broken != Broken::nothing) {
                return;
            }
            ++outcome.taken[static_cast<std::size_t>(step.kind)];
            if (step.broken != Broken::nothing) {
                outcome.broken = step.broken;
                outcome.trace = trace_to(m, visited, i);
                return;
            }
            sort_nodes(m, next);
            visited.insert(pack(m, next), i);
        });
    }
    outcome.states = visited.size();
    outcome.bytes = visited.bytes();
    outcome.seconds = now_s() - began_s;
    if (!outcome.trace.empty()) {
        outcome.depth = static_cast<int>(outcome.trace.size());
    }
    return outcome;
}

// ---- the variants ------------------------------------------------------------------------------

enum class Expect { holds, tokens_wrong, extended_too_late };

struct Variant {
    std::string name;
    Expect expect = Expect::holds;
    Model model;
    bool takes_long = false;
};

std::vector<Variant> right_variants() {
    constexpr auto holds = Expect::holds;
    constexpr auto any_time = PutBack::any_time;
    constexpr bool takes_long = true;
    return {
        {"counters alone", holds, {}},
        {"client proposals", holds, {.proposal_max = 3}},
        {"extend", holds, {.extend = true}},
        {"extend, put-back", holds, {.extend = true, .put_back = any_time}},
        {"client proposals, extend, put-back",
         holds,
         {.proposal_max = 3, .extend = true, .put_back = any_time}},
        {"duplicate delivery, client proposals",
         holds,
         {.acquisitions = 2, .proposal_max = 3, .deliveries = 2}},
        {"duplicate delivery, extend, put-back",
         holds,
         {.acquisitions = 2, .deliveries = 2, .extend = true, .put_back = any_time}},
        {"duplicate delivery, client proposals, extend, put-back",
         holds,
         {.acquisitions = 2, .proposal_max = 3, .deliveries = 2, .extend = true, .put_back = any_time}},
        {"extend, put-back", holds, {.nodes = 4, .acquisitions = 2, .extend = true, .put_back = any_time}},
        {"extend, put-back", holds, {.nodes = 5, .acquisitions = 2, .extend = true, .put_back = any_time}},
        {"counters alone", holds, {.acquisitions = 4}, takes_long},
        {"counters alone", holds, {.nodes = 5}, takes_long},
        {"client proposals", holds, {.nodes = 5, .proposal_max = 2}, takes_long},
        {"extend, put-back", holds, {.nodes = 5, .extend = true, .put_back = any_time}, takes_long},
    };
}

// Those who adopt by A's token alone, each as an acquisition of its own.
std::vector<Variant> adoption_variants() {
    constexpr auto holds = Expect::holds;
    constexpr auto any_time = PutBack::any_time;
    return {
        {"one adopts", holds, {.adopters = 1, .extend = true, .put_back = any_time}},
        {"one adopts, client proposals",
         holds,
         {.proposal_max = 3, .adopters = 1, .extend = true, .put_back = any_time}},
        {"two adopt by one token", holds, {.adopters = 2, .extend = true, .put_back = any_time}},
        {"two adopt by one token, client proposals",
         holds,
         {.proposal_max = 3, .adopters = 2, .extend = true, .put_back = any_time}},
        {"one adopts, duplicate delivery",
         holds,
         {.acquisitions = 2, .deliveries = 2, .adopters = 1, .extend = true, .put_back = any_time}},
        {"two adopt by one token", holds, {.nodes = 5, .adopters = 2, .extend = true}, true},
        {"two adopt by one token and one acquires",
         holds,
         {.acquisitions = 4, .adopters = 2, .extend = true},
         true},
        {"two adopt by one token and commit the largest value they were given",
         Expect::tokens_wrong,
         {.adopters = 2, .adopt_commits_above = false}},
    };
}

std::vector<Variant> wrong_variants() {
    constexpr auto tokens_wrong = Expect::tokens_wrong;
    return {
        {"naive: maximum of the counters, no second round", tokens_wrong, {.agreement = Agreement::none}},
        {"second round, one node that has the maximum is enough",
         tokens_wrong,
         {.agreement = Agreement::one_node}},
        {"second round without the owner check", tokens_wrong, {.commit_checks_owner = false}},
        {"second round without counter <= M, duplicate delivery",
         tokens_wrong,
         {.acquisitions = 2, .deliveries = 2, .commit_checks_counter = false}},
        {"N=4 with a quorum of 2", tokens_wrong, {.nodes = 4, .quorum = 2}},
        {"extend with the owner check alone",
         Expect::extended_too_late,
         {.extend = true, .extend_checks_counter = false}},
        {"put-back without counter <= T",
         Expect::extended_too_late,
         {.extend = true, .put_back = PutBack::after_quorum, .put_back_checks_counter = false}},
    };
}

std::vector<Variant> forgetting_variants() {
    constexpr auto holds = Expect::holds;
    constexpr auto tokens_wrong = Expect::tokens_wrong;
    constexpr auto any_time = PutBack::any_time;
    return {
        {"forgets; its counter restarts above all others",
         holds,
         {.extend = true, .put_back = any_time, .forgetting = Forgetting::restarts_above_all}},
        {"forgets; sits out until attempts from before ended, is re-seeded",
         holds,
         {.extend = true, .put_back = any_time, .forgetting = Forgetting::sits_out_and_reseeded}},
        {"forgets; votes at once", tokens_wrong, {.forgetting = Forgetting::votes_at_once}},
        {"forgets; re-seeded at once, an acquire is in flight",
         tokens_wrong,
         {.forgetting = Forgetting::reseeded_at_once}},
        {"forgets; sits out, not re-seeded", tokens_wrong, {.forgetting = Forgetting::sits_out}},
    };
}

// A node that sits out from acquires only may still be put back to, with its counter missing.
std::vector<Variant> forgetting_and_put_back_variants() {
    constexpr auto holds = Expect::holds;
    constexpr auto too_late = Expect::extended_too_late;
    constexpr auto any_time = PutBack::any_time;
    constexpr auto after_quorum = PutBack::after_quorum;
    constexpr auto reseeded = Forgetting::sits_out_and_reseeded;
    constexpr auto clock = Forgetting::clock_and_sits_out;
    return {
        {"forgets; sits out from acquires only, is re-seeded; put-back as it is",
         too_late,
         {.acquisitions = 2,
          .extend = true,
          .put_back = after_quorum,
          .forgetting = reseeded,
          .away_from_acquires_only = true}},
        {"forgets; sits out from acquires only, is re-seeded; put-back needs a counter",
         holds,
         {.extend = true,
          .put_back = any_time,
          .put_back_needs_counter = true,
          .forgetting = reseeded,
          .away_from_acquires_only = true}},
        {"forgets; sits out from acquires only, is re-seeded; put-back as it is, no extend",
         holds,
         {.put_back = any_time, .forgetting = reseeded, .away_from_acquires_only = true},
         true},
        {"forgets; perfect clocks, sits out from acquires only; put-back as it is, no extend",
         holds,
         {.put_back = any_time, .forgetting = clock, .away_from_acquires_only = true},
         true},
        {"forgets; perfect clocks as proposals, votes at once",
         Expect::tokens_wrong,
         {.forgetting = Forgetting::clock}},
        {"forgets; perfect clocks, sits out", holds, {.extend = true, .forgetting = clock}},
        {"forgets; perfect clocks, sits out from acquires only; put-back as it is",
         too_late,
         {.acquisitions = 2,
          .extend = true,
          .put_back = after_quorum,
          .forgetting = clock,
          .away_from_acquires_only = true}},
        {"forgets; perfect clocks, sits out from acquires only; put-back needs a counter",
         holds,
         {.extend = true,
          .put_back = any_time,
          .put_back_needs_counter = true,
          .forgetting = clock,
          .away_from_acquires_only = true}},
    };
}

// ---- what is said about them -------------------------------------------------------------------

const char* in_words(Expect expect) {
    switch (expect) {
        case Expect::holds: return "no violation";
        case Expect::tokens_wrong: return "(a) or (b) broken";
        case Expect::extended_too_late: return "(c) broken";
    }
    return "?";
}

const char* in_words(Broken broken) {
    switch (broken) {
        case Broken::nothing: return "no violation";
        case Broken::same_token: return "(a) broken: two acquisitions share a token";
        case Broken::order: return "(b) broken: the later token is not larger";
        case Broken::extended_too_late: return "(c) broken: extended past a larger token";
    }
    return "?";
}

// A model in which nothing happens violates nothing. So where no violation is expected, every kind
// of step that the model has must have been taken.
std::string never_taken(const Model& m, const Outcome& outcome) {
    std::vector<std::pair<Kind, const char*>> due = {{Kind::begin, "begin"},   {Kind::grant, "grant"},
                                                     {Kind::agree, "agree"},   {Kind::choose, "choose"},
                                                     {Kind::commit, "commit"}, {Kind::complete, "complete"}};
    if (m.extend) {
        due.insert(due.end(), {{Kind::begin_late_extend, "late extend"}, {Kind::extend, "extend"}});
    }
    if (m.put_back != PutBack::never) {
        due.emplace_back(Kind::put_back, "put-back");
    }
    if (m.adopters > 0) {
        due.emplace_back(Kind::adopt, "adopt");
    }
    if (m.forgetting != Forgetting::never) {
        due.emplace_back(Kind::forget, "forget");
    }
    if (m.sits_out()) {
        due.insert(due.end(), {{Kind::give_up, "give up"}, {Kind::come_back, "come back"}});
    }
    if (m.forgetting == Forgetting::sits_out_and_reseeded) {
        due.emplace_back(Kind::reseed, "re-seed");
    }
    for (const auto& [kind, name] : due) {
        if (outcome.taken[static_cast<std::size_t>(kind)] == 0) {
            return name;
        }
    }
    return "";
}

std::string surprise(const Variant& v, const Outcome& outcome) {
    const Broken broken = outcome.broken;
    const bool expected =
        (v.expect == Expect::holds && broken == Broken::nothing) ||
        (v.expect == Expect::extended_too_late && broken == Broken::extended_too_late) ||
        (v.expect == Expect::tokens_wrong && (broken == Broken::same_token || broken == Broken::order));
    if (!expected) {
        return "NOT AS EXPECTED";
    }
    const std::string missing = v.expect == Expect::holds ? never_taken(v.model, outcome) : "";
    return missing.empty() ? "" : "PROVES NOTHING, never happened: " + missing;
}

std::string with_commas(std::uint64_t number) {
    std::string digits = std::to_string(number);
    for (std::size_t at = digits.size(); at > 3; at -= 3) {
        digits.insert(at - 3, ",");
    }
    return digits;
}

std::string shape(const Model& m) {
    return "N=" + std::to_string(m.nodes) + " K=" + std::to_string(m.acquisitions);
}

struct Row {
    Variant variant;
    Outcome outcome;
    std::string surprise;
};

std::string result(const Row& row) {
    const std::string words = in_words(row.outcome.broken);
    return row.surprise.empty() ? words : words + "  <-- " + row.surprise;
}

void print_table(const std::vector<Row>& rows, bool markdown) {
    const char* format =
        markdown ? "| %s | %s | %s | %s | %s | %s | %s | %s |\n" : "%-83s %-8s %-18s %12s %6s %8s %6s  %s\n";
    const auto line = [&](const char* a, const char* b, const char* c, const char* d, const char* e,
                          const char* f, const char* g,
                          const char* h) { std::printf(format, a, b, c, d, e, f, g, h); };
    line("variant", "size", "expected", "states", "depth", "seconds", "MiB", "result");
    if (markdown) {
        std::printf("|---|---|---|--:|--:|--:|--:|---|\n");
    }
    for (const Row& row : rows) {
        char seconds[32];
        std::snprintf(seconds, sizeof seconds, "%.1f", row.outcome.seconds);
        line(row.variant.name.c_str(), shape(row.variant.model).c_str(), in_words(row.variant.expect),
             with_commas(row.outcome.states).c_str(), std::to_string(row.outcome.depth).c_str(), seconds,
             with_commas(row.outcome.bytes >> 20).c_str(), result(row).c_str());
    }
}

void print_traces(const std::vector<Row>& rows, bool markdown) {
    for (const Row& row : rows) {
        if (row.outcome.trace.empty()) {
            continue;
        }
        std::printf("\n%s%s (%s)\n%s", markdown ? "### " : "", row.variant.name.c_str(),
                    shape(row.variant.model).c_str(), markdown ? "\n```\n" : "");
        int number = 0;
        for (const Step& step : row.outcome.trace) {
            std::printf("%4d. %s\n", ++number, in_words(step).c_str());
        }
        std::printf("      %s\n%s", in_words(row.outcome.broken), markdown ? "```\n" : "");
    }
}

struct Arguments {
    bool takes_long = false;
    bool markdown = false;
    std::string_view only;
};

Arguments parse(int argc, char** argv) {
    Arguments arguments;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--long") {
            arguments.takes_long = true;
        } else if (argument == "--markdown") {
            arguments.markdown = true;
        } else if (argument == "--only" && i + 1 < argc) {
            arguments.only = argv[++i];
        } else {
            die("usage: check [--long] [--markdown] [--only <part of a name>]");
        }
    }
    return arguments;
}

}  // namespace

int main(int argc, char** argv) {
    const Arguments arguments = parse(argc, argv);
    std::vector<Row> rows;
    bool good = true;
    for (const auto& list : {right_variants(), adoption_variants(), wrong_variants(), forgetting_variants(),
                             forgetting_and_put_back_variants()}) {
        for (const Variant& variant : list) {
            if ((variant.takes_long && !arguments.takes_long) ||
                variant.name.find(arguments.only) == std::string::npos) {
                continue;
            }
            std::fprintf(stderr, "%s %s\n", shape(variant.model).c_str(), variant.name.c_str());
            Outcome outcome = explore(variant.model);
            std::string why = surprise(variant, outcome);
            good = good && why.empty();
            rows.push_back({variant, std::move(outcome), std::move(why)});
            std::fprintf(stderr, "    %s\n", result(rows.back()).c_str());
        }
    }
    print_table(rows, arguments.markdown);
    print_traces(rows, arguments.markdown);
    if (rows.empty()) {
        die("no variant has that in its name");
    }
    return good ? 0 : 1;
}
