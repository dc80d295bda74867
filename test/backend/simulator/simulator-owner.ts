/** A program that has a simulator, as the daemon has: it runs one domain, says so, and waits to be killed. */
import { createSimulator } from '../../../src/backend/simulator/simulator.js';

const [stateDir = '', memoryDir = ''] = process.argv.slice(2);
const mebibyte = 1024 * 1024;
const simulator = await createSimulator({ stateDir, memoryBytes: 64 * mebibyte, memoryDirs: [memoryDir] });
const handle = await simulator.create({
  ...{ uuid: 'survivor', name: 'survivor', memoryBytes: 4 * mebibyte, vcpus: 1, vgpus: [] },
  settings: {
    'other_config:simulator:dirty-pages-per-second': '1000',
    'other_config:simulator:working-set': '1',
  },
});
await simulator.build(handle);
await simulator.unpause(handle, 'one');
process.stdout.write('it runs\n');
