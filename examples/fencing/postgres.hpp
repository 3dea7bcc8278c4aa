// SPDX-License-Identifier: Apache-2.0
// A PostgreSQL that stores the data. Compiled only if its client library was found.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "store.hpp"

#ifdef REDLOCK_HAS_LIBPQ

#include <libpq-fe.h>

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include <redlock/fencing.hpp>

namespace fencing {

/// Uses a schema of its own, so that it touches no other table.
class Postgres final : public Store {
   public:
    /// `where` is a connection string, as in "host=/run/postgresql dbname=test", or a postgresql:// URI.
    Postgres(const std::string& where, std::string schema)
        : schema_{std::move(schema)}, connection_{connect(where)} {
        if (PQstatus(connection_.get()) != CONNECTION_OK) fail("no connection to PostgreSQL: ");
        run("SET client_min_messages TO warning");
        run("SET search_path TO " + schema_);
    }

    void prepare() override {
        run("BEGIN");
        run("CREATE SCHEMA " + schema_);
        run(redlock::postgres_fence_table);
        run("CREATE TABLE stock (item text PRIMARY KEY, what text)");
        run("INSERT INTO stock (item) VALUES ('screws')");
        run("COMMIT");
    }

    /// Without a fence, an UPDATE. With one, the same UPDATE, in a transaction that first records the token.
    redlock::Result<void> write(const std::string& text, std::uint64_t token, bool is_fenced) override {
        run("BEGIN");
        if (is_fenced) {
            const Rows admitted = run(redlock::postgres_fence, {"screws", std::to_string(token)});
            if (PQntuples(admitted.get()) == 0) {
                run("ROLLBACK");
                return redlock::Failure{
                    redlock::errc::fenced,
                    "'screws' has seen a fencing token later than " + std::to_string(token)};
            }
        }
        run("UPDATE stock SET what = $1 WHERE item = 'screws'", {text});
        run("COMMIT");
        return {};
    }

    std::string read() override {
        const Rows rows = run("SELECT what FROM stock WHERE item = 'screws'");
        return PQgetvalue(rows.get(), 0, 0);
    }

    void clean_up() override { run("DROP SCHEMA " + schema_ + " CASCADE"); }

   private:
    struct Clear {
        void operator()(PGresult* result) const noexcept { PQclear(result); }
    };
    struct Finish {
        void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
    };
    using Rows = std::unique_ptr<PGresult, Clear>;

    static PGconn* connect(const std::string& where) {
        // Where a keyword is given twice, the later one counts, so `where` may set another timeout.
        const std::array<const char*, 4> names{"connect_timeout", "fallback_application_name", "dbname",
                                               nullptr};
        const std::array<const char*, 4> values{"5", "redlock-example", where.c_str(), nullptr};
        return PQconnectdbParams(names.data(), values.data(), 1);
    }

    Rows run(std::string_view statement, const std::vector<std::string>& arguments = {}) {
        std::vector<const char*> values;
        values.reserve(arguments.size());
        for (const std::string& argument : arguments) values.push_back(argument.c_str());
        Rows rows{PQexecParams(connection_.get(), std::string{statement}.c_str(),
                               static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0)};
        const ExecStatusType status = PQresultStatus(rows.get());
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail("PostgreSQL: ");
        return rows;
    }

    [[noreturn]] void fail(const std::string& what) const {
        std::string why = PQerrorMessage(connection_.get());
        while (why.ends_with('\n')) why.pop_back();
        throw std::runtime_error{what + why};
    }

    std::string schema_;
    std::unique_ptr<PGconn, Finish> connection_;
};

inline constexpr bool has_postgres = true;

inline std::unique_ptr<Store> open_postgres(const std::string& where, const std::string& schema) {
    return std::make_unique<Postgres>(where, schema);
}

}  // namespace fencing

#else

namespace fencing {

inline constexpr bool has_postgres = false;

inline std::unique_ptr<Store> open_postgres(const std::string& /*where*/, const std::string& /*schema*/) {
    throw std::runtime_error{"built without libpq"};
}

}  // namespace fencing

#endif
