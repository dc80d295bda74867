import { expect } from 'chai';
import { grown, type Sample } from './flatness.js';
import { fuzz } from './fuzz.js';

describe('The door of a daemon', function () {
  this.timeout(60_000);

  const seed = 1;
  it(`takes whatever comes for some seconds, out of the seed ${seed}, and lives, answers and stays as it is`, async () => {
    const { requests, answers, problems } = await fuzz({ seconds: 3, seed });
    expect(problems).to.deep.equal([]);
    expect(answers).to.be.within(1, requests);
  });
});

describe('What a process uses', () => {
  const quiet: Sample = { descriptors: 30, resident: 100, latency: 2 };
  const rows: [what: string, late: Partial<Sample>, said: string[]][] = [
    ['is flat where it stays', {}, []],
    ['is flat where it is less', { descriptors: 20, resident: 50, latency: 1 }, []],
    ['is flat with a little more of each', { descriptors: 46, resident: 189, latency: 250 }, []],
    ['is not flat with more descriptors', { descriptors: 47 }, ['descriptors grew from 30.0 to 47.0']],
    ['is not flat with more memory', { resident: 190 }, ['resident grew from 100.0 to 190.0']],
    ['is not flat with longer calls', { latency: 255 }, ['latency grew from 2.0 to 255.0']],
    ['is not flat where it could not be measured', { resident: Number.NaN }, ['resident grew from 100.0 to NaN']],
  ];
  for (const [what, late, said] of rows) {
    it(what, () => {
      // What is filled at the start and one sample that stands out count for nothing.
      const start = Array(10).fill({ descriptors: 5, resident: 10, latency: 0 });
      const last = [...Array(9).fill({ ...quiet, ...late }), { descriptors: 900, resident: 900, latency: 900 }];
      expect(grown([...start, ...Array(30).fill(quiet), ...last])).to.deep.equal(said);
    });
  }
  it('is not flat where nothing was measured', () => {
    expect(grown([])).to.have.length(3);
  });
});
