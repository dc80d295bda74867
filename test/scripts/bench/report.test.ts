import { expect } from 'chai';
import { deviation, formatTable, median, rotated, type Sample, summarize } from '../../../scripts/bench/report.js';

const GiB = 2 ** 30;

function runs(...times: readonly number[]): Sample[] {
  return times.map((seconds) => ({ seconds, cpuSeconds: 2 * seconds, wireBytes: GiB / 4 }));
}

describe('the report of the benchmark', () => {
  it('takes medians', () => {
    expect(median([3, 1, 2])).to.equal(2);
    expect(median([4, 1, 2, 3])).to.equal(2.5);
    expect(median([7])).to.equal(7);
    expect(median([])).to.equal(undefined);
  });

  it('states the noise as the median deviation', () => {
    expect(deviation([1, 2, 2, 3, 10])).to.equal(0.5);
    expect(deviation([5])).to.equal(0);
    expect(deviation([])).to.equal(0);
  });

  it('begins each round with another case', () => {
    expect([0, 1, 2, 3].map((round) => rotated(['a', 'b', 'c'], round).join(''))).to.deep.equal([
      'abc',
      'bca',
      'cab',
      'abc',
    ]);
    expect(rotated([], 4)).to.deep.equal([]);
  });

  it('compares a case with the yardsticks of the same round', () => {
    const samples = new Map([
      ['pipe', runs(2, 4, 8)],
      ['cat', runs(1, 1, 1)],
      ['none', runs(1, 4, 4)],
    ]);
    const [pipe, , none] = summarize(samples, GiB);
    expect(none).to.include({ gib_per_s: 0.25, cpu_s_per_gib: 8, ratio: 4, downtime_ms: null, rounds: 3 });
    // The rounds have 2, 1 and 2; the ratio of the medians would be 1.
    expect(none).to.include({ vs_pipe: 2, vs_pipe_cpu: 0.5, vs_cat: 0.25 });
    expect(none).to.include({ gib_per_s_min: 0.25, gib_per_s_max: 1, seconds: 4 });
    expect(pipe).to.include({ vs_pipe: 1, vs_pipe_cpu: 1, vs_best: null });
  });

  it('compares the automatic level with the best fixed one', () => {
    const samples = new Map([
      ['xenguest-auto', runs(4, 4)],
      ['xenguest:-5', runs(5, 5)],
      ['xenguest:3', runs(3, 2)],
    ]);
    const [auto, fixed] = summarize(samples, GiB);
    expect(auto).to.include({ best: 'xenguest:3', vs_best: 0.625, vs_pipe: null });
    expect(fixed).to.include({ best: null, vs_best: null });
  });

  it('is a table in Markdown, without columns in which nothing stands', () => {
    const lines = formatTable(summarize(new Map([['pipe', runs(2)]]), GiB)).split('\n');
    expect(lines).to.have.length(3);
    expect(lines[0])
      .to.match(/^\| case \| GiB\/s \|/)
      .and.not.to.include('downtime');
    expect(lines[1]).to.match(/^\|-+\|-+:\|/);
    expect(lines[2]).to.match(/^\| pipe \| 0\.500 \|/);
    expect(new Set(lines.map((line) => line.length))).to.have.property('size', 1);
  });
});
