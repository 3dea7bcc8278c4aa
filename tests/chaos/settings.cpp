// SPDX-License-Identifier: Apache-2.0
#include "chaos/settings.hpp"

#include <charconv>
#include <sstream>
#include <utility>

namespace redlock::chaos {
namespace {

constexpr std::pair<const char*, bool Defects::*> named_defects[] = {{"quorum", &Defects::quorum},
                                                                     {"fence", &Defects::fence},
                                                                     {"validity", &Defects::validity},
                                                                     {"crash", &Defects::crash},
                                                                     {"hang", &Defects::hang}};

}  // namespace

bool Defects::set(std::string_view name) {
    for (const auto& [known, member] : named_defects) {
        if (name == known) return this->*member = true;
    }
    return false;
}

std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::vector<std::string> ClientSettings::arguments() const {
    std::string names = "defects";
    for (const auto& [name, member] : named_defects) {
        if (defects.*member) names += std::string{" "} + name;
    }
    std::vector<std::string> all{std::to_string(client), std::to_string(seed),
                                 std::to_string(quarantine.count()), names, directory};
    all.insert(all.end(), nodes.begin(), nodes.end());
    return all;
}

ClientSettings ClientSettings::parse(const std::vector<std::string>& arguments) {
    ClientSettings settings;
    settings.client = number(arguments.at(0)).value();
    settings.seed = number(arguments.at(1)).value();
    settings.quarantine = std::chrono::milliseconds{number(arguments.at(2)).value()};
    std::istringstream names{arguments.at(3)};
    for (std::string name; names >> name;) settings.defects.set(name);
    settings.directory = arguments.at(4);
    settings.nodes.assign(arguments.begin() + 5, arguments.end());
    return settings;
}

}  // namespace redlock::chaos
