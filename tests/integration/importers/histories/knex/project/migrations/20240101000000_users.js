exports.up = async (knex) => {
  await knex.schema.createTable('users', (t) => { t.increments('id'); t.string('email').notNullable(); });
  await knex('users').insert([{ email: "it's" }, { email: '?' }]);
};
exports.down = (knex) => knex.schema.dropTable('users');
