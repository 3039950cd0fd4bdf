// export.js
const fs = require('fs');
const path = require('path');
const knex = require('knex')({ client: 'pg', connection: process.env.SCRATCH_URL });

let file;
knex.on('query', ({ sql, bindings }) => {
  const text = bindings?.length ? knex.raw(sql.replace(/\?/g, '\\?').replace(/\$\d+/g, '?'), bindings) : sql;
  if (file) fs.appendFileSync(file, `${text};\n`);
});

(async () => {
  const [, pending] = await knex.migrate.list({ directory: 'migrations' });
  for (const [name, way, order] of [['upgrade', 'up', pending], ['downgrade', 'down', [...pending].reverse()]]) {
    for (const one of order) {
      file = `export/${name}.sql`;
      fs.appendFileSync(file, `-- Migration ${one.file}\n`);
      await require(path.resolve('migrations', one.file))[way](knex);
    }
  }
  await knex.destroy();
})();
