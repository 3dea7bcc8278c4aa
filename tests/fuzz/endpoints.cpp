// SPDX-License-Identifier: Apache-2.0
// The lists of nodes that Endpoint and Endpoints read. Bytes 1 to 7 of the input stand for passwords that are
// known.
#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz.hpp"
#include "redlock/endpoint.hpp"

namespace redlock::test {
namespace {

/// A password, and the parts of it that no text may show. It stands between ':' and '@', or behind '?'.
struct Secret {
    std::string_view text;
    std::vector<std::string_view> parts;
};

const std::array<Secret, 7>& secrets() {
    static const std::array<Secret, 7> all{{{":Pa55w0rd77@", {"Pa55w0rd77"}},
                                            {":Zebra,Yacht@", {"Zebra", "Yacht"}},
                                            {":Quilt/Vixen@", {"Quilt", "Vixen"}},
                                            {":Jumbo@Kiosk@", {"Jumbo", "Kiosk"}},
                                            {":Fjord?Gizmo#Waltz@", {"Fjord", "Gizmo", "Waltz"}},
                                            {":Nymph%21Oxide:Pygmy@", {"Nymph", "Oxide", "Pygmy"}},
                                            {"?auth=Whisky@Tango", {"Whisky", "Tango"}}}};
    return all;
}

/// What the nodes are, or why they are none.
struct Outcome {
    std::optional<Endpoints> nodes;
    std::string error;
};

template <class List>
[[nodiscard]] Outcome read(const List& list) {
    try {
        return {Endpoints(list), {}};
    } catch (const std::invalid_argument& error) {
        return {{}, error.what()};
    }
}

[[nodiscard]] bool tells_a_secret(std::string_view shown) {
    for (const Secret& secret : secrets()) {
        for (const std::string_view part : secret.parts) {
            if (shown.find(part) != std::string_view::npos) return true;
        }
    }
    return false;
}

/// Whether the parser takes it for a part of an address, as in unix:///path:password@, where '@' is a letter
/// of a path.
[[nodiscard]] bool has_secret_for_address(const std::vector<std::string>& items) {
    return std::any_of(items.begin(), items.end(), [](const std::string& item) {
        const Outcome outcome = read(item);
        if (!outcome.nodes) return false;
        const Endpoint& node = outcome.nodes->list().front();
        return tells_a_secret(node.path()) || tells_a_secret(node.host());
    });
}

[[nodiscard]] bool is_plain(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '/' ||
               letter == '.' || letter == '-' || letter == '_';
    });
}

void must_be_stable(const Endpoint& node) {
    const std::string shown = node.display();
    must(node.port() != 0, "a port is at least 1", shown);
    must(node.user().empty() || !node.password().empty(), "a user has a password", shown);
    const bool is_socket = node.scheme() == Endpoint::Scheme::unix_socket;
    must(!(is_socket ? node.path() : node.host()).empty(), "a node has an address", shown);
    // display() shows the path as it is, without escapes: only a plain one can be read again.
    if (!is_plain(is_socket ? node.path() : node.host())) return;
    const Outcome again = read(shown);
    must(again.nodes && again.nodes->list().size() == 1, "what display() shows can be read", shown);
    const Endpoint& read_again = again.nodes->list().front();
    must(read_again.display() == shown, "what display() shows is stable", shown);
    must(read_again.same_server(node) && read_again.db() == node.db(), "it is the same node", shown);
}

/// The list by the rules of the documentation: commas between the URIs, blanks around them do not count.
[[nodiscard]] std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> items{1};
    for (const char letter : text) {
        if (letter == ',') {
            items.emplace_back();
        } else {
            items.back().push_back(letter);
        }
    }
    for (std::string& item : items) {
        const std::size_t first = item.find_first_not_of(' ');
        const std::size_t last = item.find_last_not_of(' ');
        item = first == std::string::npos ? "" : item.substr(first, last - first + 1);
    }
    return items;
}

void must_be_alike(const Outcome& text, const Outcome& range) {
    must(text.error == range.error, "a text and a range fail alike", text.error + " / " + range.error);
    if (!text.nodes || !range.nodes) return;
    const auto& nodes = text.nodes->list();
    must(nodes.size() == range.nodes->list().size(), "a text and a range have as many nodes");
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        must(nodes[i].display() == range.nodes->list()[i].display(), "they have the same nodes",
             nodes[i].display());
    }
}

}  // namespace

void try_input(std::string_view input) {
    if (tells_a_secret(input)) return;  // found by comparing: it is no secret then
    std::string text{input};
    for (std::size_t i = 0; i < secrets().size(); ++i) {
        text = with_text_for(static_cast<char>(i + 1), secrets()[i].text, text);
    }
    const std::vector<std::string> items = split(text);
    const Outcome outcome = read(text);
    const bool may_tell = has_secret_for_address(items);
    must(may_tell || !tells_a_secret(outcome.error), "no error shows a part of a password", outcome.error);
    must(outcome.error.empty() || outcome.error.starts_with("redlock: "), "an error begins with our name",
         outcome.error);
    if (outcome.nodes) {
        for (const Endpoint& node : outcome.nodes->list()) {
            must(may_tell || !tells_a_secret(node.display()), "no node shows a part of its password",
                 node.display());
            must_be_stable(node);
        }
    }
    const bool has_gap = std::find(items.begin(), items.end(), "") != items.end();
    must(!has_gap || !outcome.nodes, "no URI of a list is empty", text);
    if (!has_gap) must_be_alike(outcome, read(items));
}

}  // namespace redlock::test
