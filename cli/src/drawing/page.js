(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const by = (id) => document.getElementById(id);
  const all = (what) => [...document.querySelectorAll(what)];
  // Each node and edge is drawn twice, once for each width of screen.
  const drawn = (name, count) => {
    const found = Array.from({ length: count }, () => []);
    for (const element of all(`[data-${name}]`)) found[element.dataset[name]].push(element);
    return found;
  };
  const nodes = drawn('n', data.nodes.length);
  const edges = drawn('e', data.edges.length);
  const rows = all('tbody tr');
  const stage = by('stage'), detail = by('detail'), slider = by('at'), search = by('search');
  const now = data.moments.length;
  let chosen = null, hits = [], hit = -1, zoom = 1, sizedByHand = false;

  const seqAt = () => (+slider.value >= now ? data.last : data.moments[slider.value]);
  const ownerAt = (node, seq) => node.owners.reduce((owner, [since, whose]) => (since <= seq ? whose : owner), null);
  const shortPerson = (place) => data.persons[place].slice(0, 8);
  const picture = () => all('#stage svg').find((svg) => svg.getClientRects().length > 0);

  // -- as of ------------------------------------------------------------------------------------------------------

  const words = (node, place, seq) => {
    if (node.kind === 'device') return 'device';
    const owner = ownerAt(node, seq);
    const said = [node.kind];
    if (owner === null) said.push('no person');
    else if (owner !== 0) said[0] = 'person ' + shortPerson(owner);
    else if (place === data.root) said.push('founder');
    if (seq === data.last && node.events[0]) said.push(node.events[0] + (node.events[0] === 1 ? ' event' : ' events'));
    return said.join(' · ');
  };

  const asOf = () => {
    const seq = seqAt();
    const persons = new Set();
    data.nodes.forEach((node, place) => {
      const owner = ownerAt(node, seq);
      if (owner !== null) persons.add(owner);
      for (const element of nodes[place]) {
        element.classList.toggle('later', node.since > seq);
        if (node.kind !== 'device') {
          for (let hue = 0; hue < 8; hue++) element.classList.toggle('p' + hue, owner !== null && owner % 8 === hue);
          element.classList.toggle('nobody', owner === null);
        }
        element.querySelector('.kind').textContent = words(node, place, seq);
      }
    });
    data.edges.forEach((edge, place) => {
      const there = edge.records.filter((record) => record.seq <= seq).length;
      for (const element of edges[place]) {
        element.classList.toggle('later', there === 0);
        const number = element.querySelector('.chip text');
        if (there && number) number.textContent = '#' + edge.records[0].seq + (there > 1 ? ' +' + (there - 1) : '');
      }
    });
    for (const row of rows) row.classList.toggle('later', +row.dataset.seq > seq);
    const many = persons.size === 1 ? '1 person' : persons.size + ' persons';
    by('when').textContent = (+slider.value >= now ? `now, record ${seq}` : `record ${seq}`) + `: ${many}`;
    slider.setAttribute('aria-valuetext', by('when').textContent);
    if (chosen) show();
  };
  slider.addEventListener('input', asOf);
  const turn = (by) => { slider.value = +slider.value + by; asOf(); };
  by('back').addEventListener('click', () => turn(-1));
  by('on').addEventListener('click', () => turn(1));

  // -- what is chosen ---------------------------------------------------------------------------------------------

  const make = (name, text, kind) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };

  const facts = (list) => {
    const dl = make('dl');
    for (const [name, value, kind] of list) {
      dl.append(make('dt', name));
      const dd = make('dd');
      dd.append(make('span', value, kind));
      dl.append(dd);
    }
    return dl;
  };

  const goTo = (seq) => {
    const moment = data.moments.indexOf(seq);
    slider.value = moment < 0 ? now : moment;
    asOf();
  };

  const recordItem = (record, text) => {
    const item = make('li');
    const button = make('button', '#' + record.seq);
    button.title = 'as of record ' + record.seq;
    button.addEventListener('click', () => goTo(record.seq));
    item.append(button, ' ', text);
    return item;
  };

  const show = () => {
    const seq = seqAt();
    const body = by('about');
    body.replaceChildren();
    if (!chosen) return;
    if (chosen.kind === 'n') {
      const node = data.nodes[chosen.place];
      body.append(make('h2', node.kind === 'device' ? 'Device' : 'Distinct id'));
      const owner = ownerAt(node, seq);
      const list = [['text', node.text, 'id'], ['first written by', 'record ' + node.since]];
      if (node.kind !== 'device') {
        list.push(['kind', node.kind]);
        list.push(['person as of record ' + seq, owner === null ? 'none' : data.persons[owner], 'id']);
        list.push(['events now', `${node.events[0]}, of those ${node.events[0] - node.events[1]} propertyless`]);
      }
      body.append(facts(list));
      const around = data.edges.filter((edge) => edge.ends.includes(chosen.place));
      if (around.length) {
        body.append(make('h2', 'Records'));
        const items = make('ol');
        const said = around.flatMap((edge) => edge.records.map((record) => [edge, record]));
        said.sort((a, b) => a[1].seq - b[1].seq);
        for (const [edge, record] of said) {
          const other = data.nodes[edge.ends.find((end) => end !== chosen.place) ?? chosen.place].text;
          items.append(recordItem(record, `${record.op.replace('_', ' ')}, with ${other}: ${record.said}`));
        }
        body.append(items);
      }
    } else {
      const edge = data.edges[chosen.place];
      body.append(make('h2', edge.ends.map((end) => data.nodes[end].text).join(' and ')));
      const items = make('ol');
      for (const record of edge.records) {
        const time = record.time ? `, ${record.time}` : '';
        items.append(recordItem(record, `${record.op}${time}: ${record.said}`));
      }
      body.append(items);
    }
  };

  const choose = (kind, place) => {
    chosen = kind === null ? null : { kind, place };
    for (const element of all('.chosen,.beside')) element.classList.remove('chosen', 'beside');
    if (kind === 'n') nodes[place].forEach((element) => element.classList.add('chosen'));
    if (kind === 'e') {
      edges[place].forEach((element) => element.classList.add('chosen'));
      data.edges[place].ends.forEach((end) => nodes[end].forEach((element) => element.classList.add('beside')));
      const seqs = new Set(data.edges[place].records.map((record) => String(record.seq)));
      for (const row of rows) row.classList.toggle('chosen', seqs.has(row.dataset.seq));
    }
    detail.classList.toggle('open', kind !== null);
    show();
  };
  by('close').addEventListener('click', () => choose(null));

  // -- nodes under the keyboard -----------------------------------------------------------------------------------

  const reach = (place) => {
    nodes.forEach((elements, at) => elements.forEach((element) => element.setAttribute('tabindex', at === place ? 0 : -1)));
  };
  const focus = (place) => {
    reach(place);
    const element = nodes[place].find((element) => element.getClientRects().length > 0);
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    choose('n', place);
  };
  const toward = (place, dx, dy) => {
    const spot = (at) => {
      const box = nodes[at].find((element) => element.getClientRects().length > 0).querySelector('.box').getBoundingClientRect();
      return [box.x, box.y];
    };
    const [x, y] = spot(place);
    let best = null, least = Infinity;
    nodes.forEach((elements, at) => {
      if (at === place || elements[0].classList.contains('later')) return;
      const [u, v] = spot(at);
      const along = (u - x) * dx + (v - y) * dy;
      const across = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      const far = along + 2.5 * across;
      if (along > 1 && far < least) { least = far; best = at; }
    });
    if (best !== null) focus(best);
  };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  nodes.forEach((elements, place) => elements.forEach((element) => {
    element.setAttribute('role', 'button');
    element.setAttribute('aria-label', data.nodes[place].text + ', ' + words(data.nodes[place], place, data.last));
    element.addEventListener('click', () => focus(place));
    element.addEventListener('keydown', (event) => {
      if (arrows[event.key]) { event.preventDefault(); toward(place, ...arrows[event.key]); }
      if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); choose('n', place); }
    });
  }));
  edges.forEach((elements, place) => elements.forEach((element) => element.addEventListener('click', () => choose('e', place))));
  for (const row of rows) {
    row.querySelector('button').addEventListener('click', () => { goTo(+row.dataset.seq); choose('e', +row.dataset.edge); });
  }

  // -- search -----------------------------------------------------------------------------------------------------

  const find = () => {
    const asked = search.value.trim().toLowerCase();
    const number = /^#?\d+$/.test(asked) ? +asked.replace('#', '') : null;
    hits = [];
    const marked = new Set();
    data.edges.forEach((edge, place) => {
      const found = number !== null && edge.records.some((record) => record.seq === number);
      edges[place].forEach((element) => element.classList.toggle('hit', found));
      if (found) edge.ends.forEach((end) => marked.add(end));
    });
    data.nodes.forEach((node, place) => {
      const found = asked !== '' && (node.text.toLowerCase().includes(asked) || marked.has(place));
      nodes[place].forEach((element) => element.classList.toggle('hit', found));
      if (found) hits.push(place);
    });
    hit = -1;
    stage.classList.toggle('searching', asked !== '');
    by('found').textContent = asked === '' ? '' : hits.length === 0 ? 'nothing' : `${hits.length} found`;
  };
  const next = (by) => {
    if (hits.length === 0) return;
    hit = (hit + by + hits.length) % hits.length;
    document.getElementById('found').textContent = `${hit + 1} of ${hits.length}`;
    const place = hits[hit];
    reach(place);
    nodes[place].find((element) => element.getClientRects().length > 0)
      .scrollIntoView({ block: 'nearest', inline: 'nearest' });
    choose('n', place);
  };
  search.addEventListener('input', find);
  search.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') { event.preventDefault(); next(event.shiftKey ? -1 : 1); }
    if (event.key === 'Escape') { search.value = ''; find(); }
  });

  // -- size -------------------------------------------------------------------------------------------------------

  const sized = (factor) => {
    zoom = Math.min(3, Math.max(0.2, factor));
    for (const svg of all('#stage svg')) {
      svg.setAttribute('width', svg.viewBox.baseVal.width * zoom);
      svg.setAttribute('height', svg.viewBox.baseVal.height * zoom);
    }
  };
  const room = () => (stage.clientWidth - 8) / picture().viewBox.baseVal.width;
  const byHand = (factor) => { sizedByHand = true; sized(factor); };
  by('in').addEventListener('click', () => byHand(zoom * 1.25));
  by('out').addEventListener('click', () => byHand(zoom / 1.25));
  by('fit').addEventListener('click', () => byHand(room()));
  // Smaller than this nobody reads it: then one scrolls.
  const fit = () => { if (!sizedByHand) sized(Math.min(1, Math.max(room(), 0.72))); };
  window.addEventListener('resize', fit);

  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === 'INPUT') return;
    const does = {
      '/': () => search.focus(), '+': () => byHand(zoom * 1.25), '-': () => byHand(zoom / 1.25), 0: () => byHand(1),
      '[': () => turn(-1), ']': () => turn(1), Escape: () => choose(null),
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });

  // -- begin ------------------------------------------------------------------------------------------------------

  by('bar').hidden = false;
  slider.max = now;
  slider.value = now;
  reach(data.asked);
  asOf();
  fit();
  const start = nodes[data.asked].find((element) => element.getClientRects().length > 0);
  const offset = start.getBoundingClientRect().top - stage.getBoundingClientRect().top;
  if (offset > stage.clientHeight - 60) stage.scrollTop = offset - stage.clientHeight / 2;
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (wanted.has('at')) goTo(+wanted.get('at'));
  if (wanted.has('search')) { search.value = wanted.get('search'); find(); next(1); }
  if (wanted.has('node')) choose('n', Math.min(+wanted.get('node'), data.nodes.length - 1));
  document.documentElement.dataset.ready = 'yes';
})();
