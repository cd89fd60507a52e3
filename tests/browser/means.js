// Every means by which a page can send a request to another origin. Each says what it saw: {means, what, read, status}; `read` is
// text that came back, `status` a status that it was told.
const PATIENCE_MS = 5000;

function patient(what, ms = PATIENCE_MS) {
    return Promise.race([what, new Promise((done) => setTimeout(() => done({late: true}), ms))]);
}

// Only the beginning: of a stream there is no end.
async function beginning(response) {
    const reader = response.body && response.body.getReader();
    const piece = reader && (await reader.read()).value;
    if (reader) reader.cancel();
    return piece ? new TextDecoder().decode(piece) : '';
}

async function fetched(means, url, init = {}) {
    const end = new AbortController(), timer = setTimeout(() => end.abort(), PATIENCE_MS);
    try {
        const response = await fetch(url, {...init, credentials: 'include', signal: end.signal});
        const status = response.type === 'opaque' ? 0 : response.status;
        return {means, what: url, status, read: await beginning(response)};
    } catch (error) {
        return {means, what: url, error: String(error)};
    } finally {
        clearTimeout(timer);
        end.abort(); // a stream that may not be read goes on otherwise, and a browser has six connections
    }
}

function xhr(method, url, body, type) {
    return new Promise((done) => {
        const request = new XMLHttpRequest();
        request.open(method, url);
        if (type) request.setRequestHeader('Content-Type', type);
        request.onloadend = () => done({means: 'xhr', what: url, status: request.status, read: request.responseText});
        request.send(body);
    });
}

function element(tag, attribute, url, more = {}) {
    return new Promise((done) => {
        const one = document.createElement(tag);
        const says = (how) => () => {
            let read = '';
            try { read = one.contentDocument && one.contentDocument.body.textContent || one.naturalWidth || '' } catch (e) { }
            one.remove();
            done({means: tag, what: url, how, read});
        };
        one.onload = says('load');
        one.onerror = says('error');
        one.onloadeddata = says('data');
        Object.assign(one, more);
        one[attribute] = url;
        document.body.append(one);
    });
}

// The text of `body` is sent as the name of a field and its value, which text/plain joins with "=".
function form(url, enctype, body) {
    return new Promise((done) => {
        const frame = document.createElement('iframe'), one = document.createElement('form'), field = document.createElement('input');
        frame.name = 'f' + Math.random();
        const [head, tail] = body.split('planted');
        Object.assign(one, {action: url, method: 'POST', enctype, target: frame.name});
        field.type = 'hidden'; // {…"planted", "x": "=", …}
        field.name = enctype === 'text/plain' && tail ? head + 'planted", "x": "' : 'body';
        field.value = enctype === 'text/plain' && tail ? tail : body;
        one.append(field);
        document.body.append(frame, one);
        frame.onload = () => {
            if (!one.sent) return;
            let read = '';
            try { read = frame.contentDocument.body.textContent } catch (e) { }
            done({means: 'form ' + enctype, what: url, read});
        };
        one.sent = true;
        one.submit();
    });
}

function events(url) {
    return new Promise((done) => {
        const source = new EventSource(url, {withCredentials: true});
        const seen = (event) => { source.close(); done({means: 'events', what: url, read: event.data}) };
        for (const name of ['message', 'job', 'status'])
            source.addEventListener(name, seen);
        source.onerror = () => { source.close(); done({means: 'events', what: url}) };
    });
}

function socket(url) {
    return new Promise((done) => {
        const one = new WebSocket(url.replace(/^http/, 'ws'));
        one.onopen = () => done({means: 'socket', what: url, read: 'open'});
        one.onerror = () => done({means: 'socket', what: url});
    });
}

async function all_means(base, requests, bodies, job) {
    const tried = [];
    for (const [method, path, body] of requests) {
        const url = base + path, sends = method === 'GET' ? {} : {method, body};
        const trying = [fetched('fetch with leave', url, {...sends, headers: {'Content-Type': 'application/json', 'X-Any': '1'}}),
                        fetched('fetch', url, sends)];
        if (method === 'GET' || method === 'POST') // what needs no leave
            trying.push(fetched('fetch without reading', url, {...sends, mode: 'no-cors'}));
        if (method === 'GET')
            trying.push(xhr(method, path.endsWith('/events') ? base + '/api/jobs' : url), patient(element('img', 'src', url)),
                        patient(element('script', 'src', url)));
        tried.push(...await Promise.all(trying));
    }
    for (const [path, body] of Object.entries(bodies)) {
        const url = base + path;
        const types = ['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded'];
        tried.push(...await Promise.all([
            fetched('fetch', url, {method: 'POST', body}),
            fetched('fetch without reading', url, {method: 'POST', body, mode: 'no-cors', keepalive: true}),
            fetched('fetch form', url, {method: 'POST', body: new URLSearchParams({body})}),
            fetched('fetch with leave', url, {method: 'POST', body, headers: {'Content-Type': 'application/json'}}),
            xhr('POST', url, body, 'text/plain'), ...types.map((type) => patient(form(url, type, body)))]));
        for (const type of ['text/plain', 'application/json'])
            tried.push({means: 'beacon', what: url, sent: navigator.sendBeacon(url, new Blob([body], {type}))});
    }
    const one = `${base}/api/jobs/${job}`;
    tried.push(...await Promise.all([
        ...['/api/events', `/api/jobs/${job}/events`, '/api/jobs'].flatMap((path) => [patient(events(base + path)), patient(socket(base + path))]),
        patient(element('link', 'href', one, {rel: 'stylesheet'})), patient(element('link', 'href', one, {rel: 'preload', as: 'fetch'})),
        patient(element('video', 'src', one)), patient(element('object', 'data', one)), patient(element('iframe', 'src', one)),
        patient(element('script', 'src', one, {type: 'module'}))]));
    return tried;
}

// From a page that the browser takes for the gateway's own.
async function same_origin(requests, bodies) {
    const tried = [];
    for (const [method, path, body] of requests) {
        tried.push(await fetched('fetch', path, method === 'GET' ? {} : {method, body}));
        tried.push(await fetched('fetch', path, {method, body: method === 'GET' ? undefined : body, headers: {'Content-Type': 'application/json'}}));
    }
    for (const [path, body] of Object.entries(bodies))
        tried.push(await xhr('POST', path, body, 'text/plain'));
    return tried;
}
