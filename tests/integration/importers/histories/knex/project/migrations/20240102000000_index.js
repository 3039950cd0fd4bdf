exports.config = { transaction: false };
exports.up = (knex) => knex.raw('CREATE INDEX CONCURRENTLY users_email ON users (email)');
exports.down = (knex) => knex.raw('DROP INDEX CONCURRENTLY users_email');
