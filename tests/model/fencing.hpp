// SPDX-License-Identifier: Apache-2.0
// The fencing algorithm as a transition system: every state it can be in, every step it can take.
//
// This file is the one to review: if it allows whatever the scripts and the client do, the results
// hold for them. The search over it is in check.cpp and does not know what a token is.
//
// What is allowed is more than a real system does, so what holds here holds there:
//  - A message arrives at any later time, in any order, also on one connection, or never. Nothing
//    marks a message as lost: never delivering it is one of the paths.
//  - Commits, extends and put-backs may arrive any number of times, always. An acquire arrives once,
//    or up to twice under "duplicate delivery"; of two replies the client may use either.
//  - A key vanishes at any moment: that is expiry, eviction, deletion by a hostile client, and our
//    own release, which needs no step of its own. That a key is gone makes no difference until a
//    script finds it gone, so the two are one step: a script that needs an absent key always finds
//    one.
//  - The client decides at any moment, on any subset of the replies that exist by then.
//  - A proposal is any number in a range, a new one for every delivery: clocks are arbitrary, and a
//    node may cut a proposal at its own clock, which is arbitrary too.
//  - A holder extends as often as it likes and the answers of many rounds count together. A key may
//    be put back at any time after the acquisition, not only after a quorum of yes; that is narrowed
//    (PutBack::after_quorum) only where a violation is expected, so that the trace is a real one.
//  - Who adopts begins once the holder whose token it has been given has completed, at any moment after that,
//    and any number of them may adopt by one token. The holder goes on as if it had handed nothing over.
//  - No step depends on mutual exclusion or on validity: late holders complete and extend.
// A refusal changes nothing on the node, and leaves the client where a request that never arrived
// leaves it. So refusals need no steps either.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <string>

namespace model {

constexpr int nodes_max = 5;
constexpr int acquisitions_max = 4;
constexpr int nobody = -1;

// When the client takes M, the largest value of a quorum of grants, for its token.
enum class Agreement {
    second_round,  // when a quorum of nodes has it: the algorithm
    one_node,      // a second round is sent, but one node that has M is enough
    none,          // at once: the maximum of the counters, without a second round
};

// What becomes of a node that loses its data: once per run, any node, at any moment.
enum class Forgetting {
    never,
    votes_at_once,
    restarts_above_all,     // its counter restarts above every number that exists
    reseeded_at_once,       // its counter is read from the other nodes, it votes at once
    sits_out,               // silent until attempts from before have ended, counter missing
    sits_out_and_reseeded,  // and after that its counter is read from the other nodes
    clock,                  // counter missing; acquires propose a perfect clock's time
    clock_and_sits_out,
};

enum class PutBack { never, any_time, after_quorum };

// What is explored. The defaults are the algorithm as it is built; a wrong variant changes one line.
struct Model {
    int nodes = 3;
    int acquisitions = 3;
    int quorum = nodes / 2 + 1;
    int proposal_max = 0;  // 0: the counters alone give the tokens
    int deliveries = 1;    // how often one acquire may arrive at one node
    int adopters = 0;      // of the acquisitions: from B on, who adopt by A's token alone
    bool extend = false;
    PutBack put_back = PutBack::never;
    Agreement agreement = Agreement::second_round;
    bool commit_checks_owner = true;
    bool commit_checks_counter = true;
    bool adopt_commits_above = true;  // no: as an acquire, the largest value that it was given
    bool extend_checks_counter = true;
    bool put_back_checks_counter = true;
    bool put_back_needs_counter = false;  // no: a missing counter is 0, as everywhere
    Forgetting forgetting = Forgetting::never;
    bool away_from_acquires_only = false;  // a node that sits out takes extends and put-backs

    [[nodiscard]] bool sits_out() const {
        return forgetting == Forgetting::clock_and_sits_out || forgetting == Forgetting::sits_out ||
               forgetting == Forgetting::sits_out_and_reseeded;
    }
    [[nodiscard]] bool perfect_clock() const {
        return forgetting == Forgetting::clock || forgetting == Forgetting::clock_and_sits_out;
    }
};

// What has passed between one acquisition and one node.
struct Link {
    int acquires = 0;     // how often the acquire was delivered and granted
    int vote = 0;         // while acquiring: the value granted, as the client may use it; 0 is none
    int commit_sent = 0;  // the node granted less than M, so a commit may arrive
    int committed = 0;    // while committing: the node granted M, or said ok to the commit
    int yes = 0;          // to an extend begun too late
    int put_back_sent = 0;
    int from_before = 0;  // the attempt was under way when this node forgot

    auto operator<=>(const Link&) const = default;
};

enum Presence : int { present, away, away_and_reseeded };

struct Node {
    int counter = 0;     // 0 is missing
    int owner = nobody;  // whose token the resource's key holds, or held until it vanished
    int presence = present;
    std::array<Link, acquisitions_max> links{};

    auto operator<=>(const Node&) const = default;
};

enum Phase : int { idle, acquiring, committing, failed, completed };

struct Acquisition {
    int phase = idle;
    int token = 0;     // M while committing, the fencing token once completed
    int floor = 0;     // the largest token completed before this began
    int proposal = 0;  // with a perfect clock only
    int too_late = 0;  // an extend began after a larger token had completed
};

struct State {
    std::array<Node, nodes_max> nodes{};
    std::array<Acquisition, acquisitions_max> acquisitions{};
    int has_forgotten = 0;
};

enum class Kind {
    begin,
    grant,
    adopt,
    agree,
    choose,
    commit,
    complete,
    give_up,
    begin_late_extend,
    extend,
    send_put_back,
    put_back,
    forget,
    reseed,
    come_back,
    count_
};

enum class Broken { nothing, same_token, order, extended_too_late };

struct Step {
    Kind kind{};
    int who = nobody;
    int node = nobody;
    int value = 0;
    int evicted = nobody;  // whose key is found gone in this step
    Broken broken = Broken::nothing;
};

[[nodiscard]] inline std::string name_of(int who) {
    return who == nobody ? "nobody" : std::string(1, static_cast<char>('A' + who));
}

[[nodiscard]] inline std::string in_words(const Step& step) {
    const std::string who = name_of(step.who);
    const std::string node = "node " + std::to_string(step.node + 1);
    const std::string value = std::to_string(step.value);
    const std::string gone =
        step.evicted == nobody ? "" : name_of(step.evicted) + "'s key is gone from " + node + "; ";
    switch (step.kind) {
        case Kind::begin: return who + " begins";
        case Kind::grant: return gone + node + " grants " + who + " the value " + value;
        case Kind::adopt: return node + " grants " + who + ", who adopts, the value " + value;
        case Kind::agree: return who + " has what it needs and completes with token " + value;
        case Kind::choose: return who + " has no value from a quorum, and commits M = " + value;
        case Kind::commit: return node + " runs " + who + "'s commit, counter is now " + value;
        case Kind::complete: return who + " completes with token " + value;
        case Kind::give_up: return who + " gives up";
        case Kind::begin_late_extend: return who + " (token " + value + ") begins to extend";
        case Kind::extend: return node + " says yes to " + who + "'s extend, counter " + value;
        case Kind::send_put_back:
            return gone + who + " is extended by a quorum, finds its key absent on " + node +
                   " and sends a put-back";
        case Kind::put_back: return gone + node + " gets " + who + "'s key put back, counter is now " + value;
        case Kind::forget: return node + " forgets everything, counter is now " + value;
        case Kind::reseed: return node + " gets its counter from the others: " + value;
        case Kind::come_back: return node + " votes again";
        case Kind::count_: break;
    }
    return "?";
}

// Calls visit(step, next state) for every step that can be taken from a state.
template <class Visit>
class Steps {
   public:
    Steps(const Model& model, const State& state, Visit& visit) : m_{model}, s_{state}, visit_{visit} {}

    void all() const {
        for (int who = 0; who < m_.acquisitions; ++who) {
            if (at(who).phase == idle) {
                if (may_begin(who)) begin(who);
                continue;
            }
            decide(who);
            complete(who);
            give_up(who);
            begin_late_extend(who);
            for (int node = 0; node < m_.nodes; ++node) {
                const bool here = at_node(node).presence == present;
                if (here) {
                    adopts(who) ? adopt(who, node) : acquire(who, node);
                    commit(who, node);
                }
                if (here || m_.away_from_acquires_only) {
                    extend(who, node);
                    send_put_back(who, node);
                    put_back(who, node);
                }
            }
        }
        for (int node = 0; node < m_.nodes; ++node) {
            forget(node);
            return_to_voting(node);
        }
    }

   private:
    // ---- what the nodes do: the scripts, each atomic -------------------------------------------

    // if EXISTS resource: denied
    // f = max(counter + 1, proposal); SET counter f; SET resource token; granted f
    void acquire(int who, int node) const {
        const Node& before = at_node(node);
        if (before.links[index(who)].acquires == m_.deliveries) {
            return;
        }
        grant({Kind::grant, who, node, 0, before.owner});
    }

    // if GET resource != token: denied
    // f = max(counter + 1, proposal); SET counter f; granted f
    void adopt(int who, int node) const {
        const Node& before = at_node(node);
        if (before.links[index(who)].acquires < m_.deliveries && before.owner == token_of(who)) {
            grant({Kind::adopt, who, node});
        }
    }

    void grant(Step step) const {
        const int who = step.who;
        const int least = std::max(at_node(step.node).counter + 1, at(who).proposal);
        for (int f = least; f <= std::max(least, m_.proposal_max); ++f) {
            step.value = f;
            State next = s_;
            Node& changed = next.nodes[index(step.node)];
            Link& link = changed.links[index(who)];
            changed.counter = f;
            changed.owner = token_of(who);
            ++link.acquires;
            if (at(who).phase == acquiring) {
                if (link.vote != 0) {
                    emit(step, next);  // the first reply is the one that is used
                }
                link.vote = f;
            } else if (at(who).phase == committing) {
                count_vote(link, f, at(who).token);
            }
            emit(step, next);
        }
    }

    // if GET resource = token and counter <= M (of an adopter: < M): SET counter M, ok
    void commit(int who, int node) const {
        const Node& before = at_node(node);
        const int M = at(who).token;
        const int most = commits_above(who) ? M - 1 : M;
        if (before.links[index(who)].commit_sent == 0 ||
            (m_.commit_checks_owner && before.owner != token_of(who)) ||
            (m_.commit_checks_counter && before.counter > most)) {
            return;
        }
        State next = s_;
        next.nodes[index(node)].counter = M;
        if (at(who).phase == committing) {
            next.nodes[index(node)].links[index(who)].committed = 1;
        }
        emit({Kind::commit, who, node, M}, next);
    }

    // if GET resource = token and counter <= T: PEXPIRE resource; SET counter T, ok
    // Only an extend that came too late must not succeed, so only its answers are kept.
    void extend(int who, int node) const {
        const Node& before = at_node(node);
        const int T = at(who).token;
        if (!m_.extend || !holds(who) || before.owner != token_of(who) ||
            (m_.extend_checks_counter && before.counter > T)) {
            return;
        }
        State next = s_;
        Node& changed = next.nodes[index(node)];
        changed.counter = std::max(before.counter, T);
        changed.links[index(who)].yes = at(who).too_late;
        Step step{Kind::extend, who, node, changed.counter};
        if (count_yes(next, who) >= m_.quorum) {
            step.broken = Broken::extended_too_late;
        }
        emit(step, next);
    }

    // A whole extend round in one step: the order of its messages is not what this is for.
    void send_put_back(int who, int node) const {
        int extended = 0;
        for (int other = 0; other < m_.nodes; ++other) {
            const bool is_ours = at_node(other).owner == token_of(who);
            extended += is_ours && at_node(other).counter <= at(who).token ? 1 : 0;
        }
        if (m_.put_back == PutBack::after_quorum && holds(who) && at_node(node).owner != token_of(who) &&
            extended >= m_.quorum) {
            State next = s_;
            next.nodes[index(node)].owner = nobody;
            next.nodes[index(node)].links[index(who)].put_back_sent = 1;
            emit({Kind::send_put_back, who, node, 0, at_node(node).owner}, next);
        }
    }

    // if not EXISTS resource and counter <= T: SET counter T; SET resource token NX
    void put_back(int who, int node) const {
        const Node& before = at_node(node);
        const int T = at(who).token;
        const bool sent =
            m_.put_back == PutBack::any_time ? holds(who) : before.links[index(who)].put_back_sent != 0;
        if (!sent || (m_.put_back_checks_counter && before.counter > T) ||
            (m_.put_back_needs_counter && before.counter == 0)) {
            return;
        }
        State next = s_;
        next.nodes[index(node)].counter = T;
        next.nodes[index(node)].owner = token_of(who);
        emit({Kind::put_back, who, node, T, before.owner}, next);
    }

    // ---- what the clients do -------------------------------------------------------------------

    // Acquisitions are alike, and so are adopters: each kind begins in the order of its names.
    [[nodiscard]] bool may_begin(int who) const {
        for (int earlier = 0; earlier < who; ++earlier) {
            if (at(earlier).phase == idle && adopts(earlier) == adopts(who)) return false;
        }
        return !adopts(who) || holds(token_of(who));
    }

    void begin(int who) const {
        State next = s_;
        Acquisition& a = next.acquisitions[index(who)];
        a.phase = acquiring;
        a.floor = largest_completed();
        a.proposal = m_.perfect_clock() ? largest_number() + 1 : 0;
        emit({Kind::begin, who}, next);
    }

    // On any quorum of the grants: a value that a quorum gave is the token; otherwise the largest
    // is committed, or one above it. A quorum whose largest is M exists if at least that many gave M or less.
    void decide(int who) const {
        for (int node = 0; node < m_.nodes && at(who).phase == acquiring; ++node) {
            const int M = at_node(node).links[index(who)].vote;
            int same = 0;
            int not_above = 0;
            for (const Node& other : s_.nodes) {
                const int vote = other.links[index(who)].vote;
                same += vote == M ? 1 : 0;
                not_above += vote != 0 && vote <= M ? 1 : 0;
            }
            if (M == 0 || not_above < m_.quorum) {
                continue;
            }
            State next = s_;
            next.acquisitions[index(who)].token = M;
            if (same >= m_.quorum || m_.agreement == Agreement::none) {
                emit_completed({Kind::agree, who, nobody, M}, next);
                continue;
            }
            const int chosen = commits_above(who) ? M + 1 : M;
            next.acquisitions[index(who)].phase = committing;
            next.acquisitions[index(who)].token = chosen;
            for (Node& other : next.nodes) {
                Link& link = other.links[index(who)];
                count_vote(link, link.vote, chosen);
                link.vote = 0;
            }
            emit({Kind::choose, who, nobody, chosen}, next);
        }
    }

    // Nodes that granted exactly M are committed already; those that granted less are sent a commit,
    // also when their grant is late.
    static void count_vote(Link& link, int vote, int M) {
        link.committed |= vote == M ? 1 : 0;
        link.commit_sent |= vote != 0 && vote < M ? 1 : 0;
    }

    void complete(int who) const {
        int committed = 0;
        for (const Node& node : s_.nodes) {
            committed += node.links[index(who)].committed;
        }
        if (at(who).phase == committing &&
            committed >= (m_.agreement == Agreement::one_node ? 1 : m_.quorum)) {
            emit_completed({Kind::complete, who, nobody, at(who).token}, s_);
        }
    }

    // Otherwise an attempt that never goes on does for one that failed.
    void give_up(int who) const {
        if (m_.sits_out() && (at(who).phase == acquiring || at(who).phase == committing)) {
            State next = s_;
            Acquisition& a = next.acquisitions[index(who)];
            a.phase = failed;
            a.token = 0;
            a.floor = 0;
            forget_replies(next, who);
            emit({Kind::give_up, who}, next);
        }
    }

    void begin_late_extend(int who) const {
        if (m_.extend && holds(who) && largest_completed() > at(who).token) {
            State next = s_;
            next.acquisitions[index(who)].too_late = 1;
            emit({Kind::begin_late_extend, who, nobody, at(who).token}, next);
        }
    }

    // ---- a node that lost its data -------------------------------------------------------------

    void forget(int node) const {
        if (m_.forgetting == Forgetting::never || s_.has_forgotten != 0) {
            return;
        }
        State next = s_;
        next.has_forgotten = 1;
        Node& changed = next.nodes[index(node)];
        changed.owner = nobody;
        changed.counter = 0;
        if (m_.forgetting == Forgetting::restarts_above_all) {
            changed.counter = largest_number();
        } else if (m_.forgetting == Forgetting::reseeded_at_once) {
            changed.counter = largest_counter_except(node);
        }
        if (m_.sits_out()) {
            changed.presence = away;
            for (int who = 0; who < m_.acquisitions && at(who).phase != idle; ++who) {
                // The connections are closed: what was under way to this node never arrives.
                Link& link = changed.links[index(who)];
                link.acquires = m_.deliveries;
                link.commit_sent = 0;
                link.put_back_sent = 0;
                link.from_before = under_way(who) ? 1 : 0;
            }
        }
        emit({Kind::forget, nobody, node, changed.counter}, next);
    }

    void return_to_voting(int node) const {
        const Node& before = at_node(node);
        for (int who = 0; who < m_.acquisitions; ++who) {
            if (before.links[index(who)].from_before != 0 && under_way(who)) {
                return;
            }
        }
        State next = s_;
        Node& changed = next.nodes[index(node)];
        for (Link& link : changed.links) {
            link.from_before = 0;
        }
        if (before.presence == away && m_.forgetting == Forgetting::sits_out_and_reseeded) {
            changed.presence = away_and_reseeded;  // others may go on before it votes again
            changed.counter = largest_counter_except(node);
            emit({Kind::reseed, nobody, node, changed.counter}, next);
        } else if (before.presence != present) {
            changed.presence = present;
            emit({Kind::come_back, nobody, node}, next);
        }
    }

    // ---- the claims (a) and (b); (c) is where an extend is answered ----------------------------

    void emit_completed(Step step, State next) const {
        Acquisition& a = next.acquisitions[index(step.who)];
        for (int other = 0; other < m_.acquisitions; ++other) {
            if (holds(other) && at(other).token == a.token) {
                step.broken = Broken::same_token;
            }
        }
        if (step.broken == Broken::nothing && a.token <= a.floor) {
            step.broken = Broken::order;
        }
        a.phase = completed;
        a.floor = 0;
        forget_replies(next, step.who);
        emit(step, next);
    }

    // ---- small helpers -------------------------------------------------------------------------

    static std::size_t index(int i) { return static_cast<std::size_t>(i); }
    const Node& at_node(int node) const { return s_.nodes[index(node)]; }
    const Acquisition& at(int who) const { return s_.acquisitions[index(who)]; }
    [[nodiscard]] bool holds(int who) const { return at(who).phase == completed; }
    [[nodiscard]] bool adopts(int who) const { return who >= 1 && who <= m_.adopters; }
    [[nodiscard]] int token_of(int who) const { return adopts(who) ? 0 : who; }
    [[nodiscard]] bool commits_above(int who) const { return adopts(who) && m_.adopt_commits_above; }
    [[nodiscard]] bool under_way(int who) const {
        return at(who).phase == acquiring || at(who).phase == committing;
    }

    [[nodiscard]] int count_yes(const State& state, int who) const {
        int count = 0;
        for (const Node& node : state.nodes) {
            count += node.links[index(who)].yes;
        }
        return count;
    }

    [[nodiscard]] int largest_completed() const {
        int largest = 0;
        for (int who = 0; who < m_.acquisitions; ++who) {
            largest = std::max(largest, holds(who) ? at(who).token : 0);
        }
        return largest;
    }

    [[nodiscard]] int largest_counter_except(int node) const {
        int largest = 0;
        for (int other = 0; other < m_.nodes; ++other) {
            largest = std::max(largest, other == node ? 0 : at_node(other).counter);
        }
        return largest;
    }

    // Of all that exist anywhere: counters, values granted, tokens, proposals.
    [[nodiscard]] int largest_number() const {
        int largest = largest_counter_except(nobody);
        for (int who = 0; who < m_.acquisitions; ++who) {
            largest = std::max({largest, at(who).token, at(who).proposal});
            for (const Node& node : s_.nodes) {
                largest = std::max(largest, node.links[index(who)].vote);
            }
        }
        return largest;
    }

    static void forget_replies(State& next, int who) {
        for (Node& node : next.nodes) {
            node.links[index(who)].vote = 0;
            node.links[index(who)].committed = 0;
        }
    }

    // A commit that can have no effect any more is dropped, so that fewer states differ.
    void drop_dead_commits(State& next) const {
        for (Node& node : next.nodes) {
            for (int who = 0; who < m_.acquisitions; ++who) {
                Link& link = node.links[index(who)];
                const Acquisition& a = next.acquisitions[index(who)];
                const bool never_owner_again = m_.commit_checks_owner && m_.adopters == 0 &&
                                               node.owner != who && link.acquires == m_.deliveries &&
                                               m_.put_back == PutBack::never;
                const bool same_as_extend = m_.extend && m_.extend_checks_counter && a.phase == completed;
                if (never_owner_again || same_as_extend) {
                    link.commit_sent = 0;
                }
            }
        }
    }

    void emit(const Step& step, State next) const {
        drop_dead_commits(next);
        visit_(step, next);
    }

    const Model& m_;
    const State& s_;
    Visit& visit_;
};

template <class Visit>
void for_each_step(const Model& model, const State& state, Visit&& visit) {
    Steps<Visit>{model, state, visit}.all();
}

// Nodes are alike: of the states that differ only in the nodes' names one is explored. An insertion
// sort, since there are never more than five.
inline void sort_nodes(const Model& model, State& state) {
    const auto first = state.nodes.begin();
    for (auto at = first + 1; at < first + model.nodes; ++at) {
        for (auto down = at; down != first && *down < *(down - 1); --down) {
            std::swap(*down, *(down - 1));
        }
    }
}

// Calls use(field, bits, least) for every number in a state; no bits: this model never changes it.
template <class Use>
void for_each_field(const Model& model, State& state, Use&& use) {
    constexpr int number = 4;
    const int commits = model.agreement != Agreement::none ? 1 : 0;
    const int extends = model.extend ? 1 : 0;
    const int forgets = model.forgetting != Forgetting::never ? 1 : 0;
    for (int n = 0; n < model.nodes; ++n) {
        Node& node = state.nodes[static_cast<std::size_t>(n)];
        use(node.counter, number, 0);
        use(node.owner, 3, nobody);
        use(node.presence, model.sits_out() ? 2 : 0, 0);
        for (int who = 0; who < model.acquisitions; ++who) {
            Link& link = node.links[static_cast<std::size_t>(who)];
            use(link.acquires, model.deliveries, 0);
            use(link.vote, number, 0);
            use(link.commit_sent, commits, 0);
            use(link.committed, commits, 0);
            use(link.yes, extends, 0);
            use(link.put_back_sent, model.put_back == PutBack::after_quorum ? 1 : 0, 0);
            use(link.from_before, model.sits_out() ? 1 : 0, 0);
        }
    }
    for (int who = 0; who < model.acquisitions; ++who) {
        Acquisition& a = state.acquisitions[static_cast<std::size_t>(who)];
        use(a.phase, 3, 0);
        use(a.token, number, 0);
        use(a.floor, number, 0);
        use(a.proposal, model.perfect_clock() ? number : 0, 0);
        use(a.too_late, extends, 0);
    }
    use(state.has_forgotten, forgets, 0);
}

}  // namespace model
