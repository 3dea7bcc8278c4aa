// SPDX-License-Identifier: Apache-2.0
#include "chaos/clients.hpp"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "support/eventually.hpp"

namespace redlock::chaos {
namespace {

std::string describe(int status) {
    if (WIFSIGNALED(status)) return "by signal " + std::to_string(WTERMSIG(status));
    return "with exit status " + std::to_string(WEXITSTATUS(status));
}

std::string output_file(const std::string& directory, std::size_t client) {
    return directory + "/client-" + std::to_string(client);
}

}  // namespace

void Clients::start(std::size_t index) {
    const Nanoseconds now = time_now();
    for (std::size_t i = 0; i < threads_per_client; ++i) {
        shared_.workers[index * threads_per_client + i].active_at = now;
    }
    ClientSettings settings = settings_;
    settings.client = index;
    settings.seed += ++started_;
    test::Command command{{std::filesystem::read_symlink("/proc/self/exe"), "client"},
                          {},
                          output_file(settings.directory, index)};
    for (auto& argument : settings.arguments()) command.arguments.push_back(std::move(argument));
    clients_.at(index).process.start(command);
    clients_.at(index).is_expected_to_run = true;
}

void Clients::start_all() {
    for (std::size_t i = 0; i < client_count; ++i) {
        if (!clients_[i].is_expected_to_run) start(i);
    }
}

void Clients::begin(const Fault& fault) {
    const std::size_t index = fault.targets.front();
    Client& client = clients_.at(index);
    if (!client.is_expected_to_run || !client.process.running()) return;
    if (fault.kind == FaultKind::kill_client) return kill(index);
    client.process.stop();
    client.is_paused = true;
}

void Clients::end(const Fault& fault) {
    const std::size_t index = fault.targets.front();
    if (fault.kind == FaultKind::pause_client) return resume(clients_.at(index));
    if (!clients_.at(index).is_expected_to_run) start(index);
}

void Clients::kill(std::size_t index) {
    clients_.at(index).is_expected_to_run = false;
    clients_[index].process.kill();
    for (std::size_t i = 0; i < threads_per_client; ++i) {
        const std::size_t worker = index * threads_per_client + i;
        for (OpenHold& open : shared_.workers[worker].holds) {
            const std::uint64_t id = open.id.exchange(0);
            if (id == 0) continue;
            // Its lock stays valid as long as it was told: until then nobody else may get it.
            abandoned_.push_back(
                {id, open.resource, static_cast<std::uint32_t>(worker), open.from, open.until, open.token});
        }
    }
}

void Clients::resume(Client& client) {
    if (!client.is_paused) return;
    client.resumed_at = time_now();
    client.is_paused = false;
    client.process.resume();
}

void Clients::heal() {
    for (Client& client : clients_) resume(client);
    start_all();
}

void Clients::stop_all() {
    // All of them are told before one is waited for.
    for (Client& client : clients_) {
        if (client.is_expected_to_run && client.process.running()) ::kill(client.process.pid(), SIGTERM);
    }
    for (std::size_t i = 0; i < client_count; ++i) {
        Client& client = clients_[i];
        if (!client.is_expected_to_run) continue;
        const bool has_ended = test::eventually(hang_after, [&] { return !client.process.running(); });
        client.is_expected_to_run = false;
        if (!has_ended) {
            client.process.kill();
            problems_.push_back("client " + std::to_string(i) + " did not end when it was told to");
        } else if (client.process.status() != 0) {
            note_end(i);
        }
    }
}

void Clients::note_end(std::size_t index) {
    clients_[index].is_expected_to_run = false;
    const int status = clients_[index].process.status().value_or(0);
    const std::string text = "client " + std::to_string(index) + " has ended by itself, " + describe(status);
    if (WIFEXITED(status) && WEXITSTATUS(status) == exit_cannot_run) {
        throw CannotRun{text + ":\n" + output_of(index)};
    }
    problems_.push_back(text);
}

void Clients::note_hanging_workers() {
    for (std::size_t i = 0; i < worker_count; ++i) {
        const Client& client = clients_[i / threads_per_client];
        if (!client.is_expected_to_run || client.is_paused) continue;
        WorkerSlot& worker = shared_.workers[i];
        const Nanoseconds since = std::max(worker.active_at.load(), client.resumed_at);
        if (time_now() - since < ns(hang_after)) continue;
        problems_.push_back("worker " + std::to_string(i) + " hangs in " + to_string(worker.activity));
        worker.active_at = time_now();
    }
}

std::vector<std::string> Clients::problems() {
    for (std::size_t i = 0; i < client_count; ++i) {
        if (clients_[i].is_expected_to_run && !clients_[i].process.running()) note_end(i);
    }
    note_hanging_workers();
    return std::exchange(problems_, {});
}

std::vector<HoldRecord> Clients::take_abandoned_holds() { return std::exchange(abandoned_, {}); }

std::string Clients::output_of(std::size_t client) const {
    std::ifstream file{output_file(settings_.directory, client)};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    constexpr std::size_t enough = 2000;
    return text.substr(text.size() - std::min(text.size(), enough));
}

}  // namespace redlock::chaos
