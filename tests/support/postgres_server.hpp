// SPDX-License-Identifier: Apache-2.0
// A real PostgreSQL server that belongs to the test, on a unix socket in a temporary directory, and a
// connection to it.
#pragma once

#include <libpq-fe.h>

#include <pwd.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/child_process.hpp"
#include "support/eventually.hpp"
#include "support/posix.hpp"

namespace redlock::test {

// One of PostgreSQL's programs, in PATH or where Debian keeps them.
[[nodiscard]] inline std::optional<std::string> find_postgres(const std::string& program) {
    if (auto found = find_executable(program)) return std::filesystem::canonical(*found).string();
    std::error_code none;
    for (const auto& version : std::filesystem::directory_iterator{"/usr/lib/postgresql", none}) {
        if (auto found = find_executable((version.path() / "bin" / program).string())) return found;
    }
    return std::nullopt;
}

// A private cluster on a unix socket. PostgreSQL refuses to run as root: a root user runs it as another user.
class PostgresServer {
   public:
    // Why the server cannot run here; nothing if it can.
    [[nodiscard]] static std::optional<std::string> objection() {
        if (!find_postgres("postgres") || !find_postgres("initdb")) return "PostgreSQL is not installed";
        if (::geteuid() == 0 && !find_executable("setpriv")) return "we are root, and there is no setpriv";
        if (::geteuid() == 0 && user() == nullptr) return "we are root, and there is nobody else";
        return std::nullopt;
    }

    PostgresServer() {
        if (::geteuid() == 0 && ::chown(directory_.path().c_str(), user()->pw_uid, user()->pw_gid) != 0) {
            throw_errno("chown");
        }
        const std::string data = directory_.file("data");
        ChildProcess initdb{command({*find_postgres("initdb"), "--pgdata", data, "--auth=trust",
                                     "--username=tester", "--no-sync", "--locale=C", "--encoding=UTF8"})};
        if (!eventually(patience, [&] { return !initdb.running(); }) || initdb.status() != 0) {
            throw std::runtime_error{"initdb failed"};
        }
        server_.start(command({*find_postgres("postgres"), "-D", data, "-k", directory_.path().string(), "-c",
                               "listen_addresses=", "-c", "fsync=off"}));
        if (!eventually(patience, [&] { return PQping(where().c_str()) == PQPING_OK; })) {
            throw std::runtime_error{"PostgreSQL is not ready in time"};
        }
    }
    PostgresServer(const PostgresServer&) = delete;
    PostgresServer& operator=(const PostgresServer&) = delete;
    ~PostgresServer() { server_.terminate(std::chrono::seconds{5}); }

    [[nodiscard]] std::string where() const {
        return "host=" + directory_.path().string() + " user=tester dbname=postgres connect_timeout=5";
    }

   private:
    static const passwd* user() {
        const passwd* found = ::getpwnam("postgres");
        return found != nullptr ? found : ::getpwnam("nobody");
    }
    [[nodiscard]] Command command(std::vector<std::string> words) const {
        Command made{{}, directory_.path().string(), {}};
        if (::geteuid() == 0) {
            made.arguments = {*find_executable("setpriv"),
                              "--reuid=" + std::to_string(user()->pw_uid),
                              "--regid=" + std::to_string(user()->pw_gid),
                              "--clear-groups",
                              "--pdeathsig=KILL",
                              "--"};
        }
        made.arguments.insert(made.arguments.end(), words.begin(), words.end());
        return made;
    }

    TemporaryDirectory directory_;
    ChildProcess server_;
};

// An error of the server, or of the connection.
class PostgresError : public std::runtime_error {
   public:
    PostgresError(const std::string& what, std::string state)
        : std::runtime_error{what}, state_{std::move(state)} {}
    // SQLSTATE, such as "40001"; empty where the server gave none.
    [[nodiscard]] const std::string& state() const noexcept { return state_; }

   private:
    std::string state_;
};

// One connection.
class PostgresSession {
   public:
    explicit PostgresSession(const PostgresServer& server)
        : connection_{PQconnectdb(server.where().c_str())} {
        if (PQstatus(connection_.get()) != CONNECTION_OK) throw PostgresError{error(), ""};
        run("SET client_min_messages TO warning");
    }

    // The rows' first column.
    std::vector<std::string> run(std::string_view statement, const std::vector<std::string>& arguments = {}) {
        send(statement, arguments);
        return rows();
    }
    void send(std::string_view statement, const std::vector<std::string>& arguments = {}) {
        std::vector<const char*> values;
        for (const std::string& argument : arguments) values.push_back(argument.c_str());
        if (PQsendQueryParams(connection_.get(), std::string{statement}.c_str(),
                              static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr,
                              0) != 1) {
            throw PostgresError{error(), ""};
        }
    }
    // The result of the statement that was sent.
    std::vector<std::string> rows() {
        std::vector<std::string> all;
        std::string failure;
        while (const std::unique_ptr<PGresult, Clear> result{PQgetResult(connection_.get())}) {
            const auto status = PQresultStatus(result.get());
            if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
                const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
                failure = state == nullptr ? "none" : state;
            }
            for (int row = 0; row < PQntuples(result.get()); ++row) {
                all.emplace_back(PQgetvalue(result.get(), row, 0));
            }
        }
        if (!failure.empty()) throw PostgresError{error(), failure};
        return all;
    }
    [[nodiscard]] int backend() const { return PQbackendPID(connection_.get()); }

   private:
    struct Finish {
        void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    };
    struct Clear {
        void operator()(PGresult* result) const noexcept { PQclear(result); }
    };
    [[nodiscard]] std::string error() const { return PQerrorMessage(connection_.get()); }

    std::unique_ptr<PGconn, Finish> connection_;
};

}  // namespace redlock::test
