//! The administration socket: `POST /admin/v1` takes an [`AdminRequest`] and answers with its outcome.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Body as _, Incoming},
};
use portreeve_config::{Config, Role};
use portreeve_events::Kind as EventKind;
use portreeve_hub::{Actor, AdminError, AdminRequest, Hub, Lane, Outcome, inventory::FILE_BYTES_MAX};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinError,
};

use crate::{
    StartError,
    exchange::{Answer, converse, error, json, rest_after},
    peer,
    shares::Shares,
};

/// Where requests are posted.
pub const ADMIN_PATH: &str = "/admin/v1";

/// Bytes of a request: a large set of policies fits.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Bytes of a request that imports a list or attaches an SBOM: the largest file, and as much again for what JSON escapes.
const IMPORT_BYTES_MAX: usize = 2 * FILE_BYTES_MAX + 4096;
/// Requests of that size at once, for each is in memory as a whole.
const IMPORTS_MAX: usize = 1;
/// Operators at once, and connections of one local user, so that none keeps the others out. The hub's own user and root are not bound
/// by the latter: they may end the hub.
const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_PER_USER_MAX: usize = 16;
/// Threads for requests that may wait for a private key: however long a token takes to sign, the others are free.
const KEY_THREADS: usize = 3;
/// Threads for revocations and other changes of state.
const STATE_THREADS: usize = 2;
/// Threads for requests that look through much.
const SEARCH_THREADS: usize = 2;
/// Threads for all other requests.
const OTHER_THREADS: usize = 2;
/// All of them. No request is given to them before one is free, so none queues there.
pub(crate) const THREADS: usize = KEY_THREADS + STATE_THREADS + SEARCH_THREADS + OTHER_THREADS;
/// Longest conversation, the request's work included.
const LIFETIME: Duration = Duration::from_secs(60);
/// The table of local users.
const PASSWD: &str = "/etc/passwd";

/// What a refused request is answered with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Denial {
    /// For the operator.
    pub error: String,
    /// What the command exits with.
    pub exit_status: u8,
}

/// The path of the administration socket of the hub in `data`.
#[must_use]
pub fn socket_path(data: &Path, config: &Config) -> PathBuf {
    let configured = &config.admin.socket;
    if configured.as_os_str().is_empty() { data.join("admin.sock") } else { configured.clone() }
}

/// The bound socket; its file goes when this does.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    hub: Arc<Hub>,
    listener: UnixListener,
    path: PathBuf,
}

/// What may be done at a time. A place is held until the work is done, whether or not somebody still waits for it.
#[derive(Clone)]
struct Rooms {
    imports: Arc<Semaphore>,
    keys: Arc<Semaphore>,
    states: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Rooms {
    fn new() -> Self {
        let room = |places| Arc::new(Semaphore::new(places));
        Self {
            imports: room(IMPORTS_MAX),
            keys: room(KEY_THREADS),
            states: room(STATE_THREADS),
            searches: room(SEARCH_THREADS),
            others: room(OTHER_THREADS),
        }
    }

    fn of(&self, lane: Lane) -> &Arc<Semaphore> {
        match lane {
            Lane::Keys => &self.keys,
            Lane::State => &self.states,
            Lane::Search => &self.searches,
            Lane::Other => &self.others,
        }
    }

    /// Does something on a thread of this lane, as soon as one is free. Who hangs up before that has asked for nothing.
    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // The semaphore is never closed.
        let place = Arc::clone(self.of(lane)).acquire_owned().await.ok();
        let work = move || {
            let _place = place;
            work()
        };
        tokio::task::spawn_blocking(work).await
    }
}

impl AdminSocket {
    /// Binds the socket, in place of one that a killed hub left behind.
    pub(crate) fn open(hub: Arc<Hub>) -> Result<Self, StartError> {
        let path = socket_path(hub.data(), &hub.config());
        let failed = |source| StartError::AdminSocket { path: path.clone(), source };
        let listener = bind(&path)?;
        // Where other users have roles they must be able to connect; what each may do is decided by SO_PEERCRED.
        let shared = !hub.config().admin.operators.is_empty() && !hub.config().admin.socket.as_os_str().is_empty();
        let mode = if shared { 0o666 } else { 0o600 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        hub.set_role_of(Box::new(role_of));
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Ok(Self { hub, listener, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn serve(&self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (rooms, shares) = (Rooms::new(), Shares::new(CONNECTIONS_PER_USER_MAX));
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    rest_after(&error).await;
                    continue;
                }
            };
            let uid = uid_of(&stream);
            let share = match uid {
                Ok(uid) if uid != own_uid() && uid != peer::ROOT => match shares.take(uid) {
                    Some(share) => Some(share),
                    None => continue,
                },
                _ => None,
            };
            let (hub, rooms) = (Arc::clone(&self.hub), rooms.clone());
            tokio::spawn(async move {
                let actor = uid.and_then(|uid| identify(&hub, uid));
                converse(stream, LIFETIME, |request| answer(&hub, &rooms, &actor, request)).await;
                drop((share, place));
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // If it stays, the next start replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

fn bind(path: &Path) -> Result<StdListener, StartError> {
    let failed = |source| StartError::AdminSocket { path: path.to_owned(), source };
    match StdListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        result => return result.map_err(failed),
    }
    if !fs::symlink_metadata(path).map_err(failed)?.file_type().is_socket() {
        return Err(StartError::NotASocket(path.to_owned()));
    }
    if StdStream::connect(path).is_ok() {
        return Err(StartError::AdminSocketInUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(failed)?;
    StdListener::bind(path).map_err(failed)
}

/// Asks the kernel who connected.
fn uid_of(stream: &UnixStream) -> Result<u32, String> {
    let credentials = rustix::net::sockopt::socket_peercred(stream);
    credentials.map(|credentials| credentials.uid.as_raw()).map_err(|error| format!("a nameless peer ({error})"))
}

/// Asks the configuration what a user may do.
fn identify(hub: &Hub, uid: u32) -> Result<Actor, String> {
    peer::actor(uid, own_uid(), &hub.config().admin.operators, &passwd())
}

/// What the user who was called so once may do now.
fn role_of(hub: &Hub, name: &str) -> Option<Role> {
    peer::role_of(name, own_uid(), &hub.config().admin.operators, &passwd())
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Without the table only the hub's own user and root are known: fail closed.
fn passwd() -> String {
    fs::read_to_string(PASSWD).unwrap_or_default()
}

fn answer(
    hub: &Arc<Hub>,
    rooms: &Rooms,
    actor: &Result<Actor, String>,
    request: Request<Incoming>,
) -> impl Future<Output = Answer> + use<> {
    let (hub, rooms, actor) = (Arc::clone(hub), rooms.clone(), actor.clone());
    async move {
        if request.uri().path() != ADMIN_PATH {
            return error(StatusCode::NOT_FOUND, "there is nothing here");
        }
        if request.method() != Method::POST {
            return error(StatusCode::METHOD_NOT_ALLOWED, "requests are posted");
        }
        let actor = match actor {
            Ok(actor) => actor,
            Err(name) => return stranger(&hub, &name),
        };
        // The actor is known, and with it what it may send, before anything of the body is kept.
        if !is_large(&request) {
            return match read(request, BODY_BYTES_MAX).await {
                Ok(request) => answered(rooms.run(request.lane(), move || hub.administer(&actor, request)).await),
                Err(answer) => answer,
            };
        }
        let place = match import_place(&hub, &rooms, &actor) {
            Ok(place) => place,
            Err(error) => {
                discard(request).await;
                return refusal(&error);
            }
        };
        match read(request, IMPORT_BYTES_MAX).await {
            Ok(request @ (AdminRequest::DeviceImport { .. } | AdminRequest::SbomAdd { .. })) => {
                let import = move || {
                    let _place = place;
                    hub.administer(&actor, request)
                };
                answered(rooms.run(Lane::Other, import).await)
            }
            Ok(_) => too_large(&format!("only an import or an SBOM may have more than {BODY_BYTES_MAX} bytes")),
            Err(answer) => answer,
        }
    }
}

fn stranger(hub: &Hub, name: &str) -> Answer {
    hub.emit(EventKind::AdminDenied, Some(name), None, None, format_args!("no role on the administration socket"));
    let text = format!("{name} has no role on this hub; an administrator can give one with admin.operators");
    denial(StatusCode::FORBIDDEN, text, 4)
}

/// Whether the request says that it has more bytes than usual. One that does not say is held to the usual bound.
fn is_large(request: &Request<Incoming>) -> bool {
    request.body().size_hint().lower() > BODY_BYTES_MAX as u64
}

fn import_place(hub: &Hub, rooms: &Rooms, actor: &Actor) -> Result<OwnedSemaphorePermit, AdminError> {
    hub.authorize_import(actor)?;
    let place = Arc::clone(&rooms.imports).try_acquire_owned();
    place.map_err(|_| AdminError::Refused("another import is under way; try again when it is done".into()))
}

/// Lets a refused body pass without keeping it: a client hears an answer only when it has sent its request.
async fn discard(request: Request<Incoming>) {
    let mut body = Limited::new(request.into_body(), IMPORT_BYTES_MAX);
    while let Some(Ok(_)) = body.frame().await {}
}

fn too_large(why: &str) -> Answer {
    denial(StatusCode::PAYLOAD_TOO_LARGE, format!("the request was not read: {why}"), 2)
}

async fn read(request: Request<Incoming>, bytes_max: usize) -> Result<AdminRequest, Answer> {
    let body = Limited::new(request.into_body(), bytes_max).collect().await;
    let body = body.map_err(|error| too_large(&format!("{error}; it may have {bytes_max} bytes")))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        let text = format!("the hub does not understand the request ({error}); is it of the same version?");
        denial(StatusCode::BAD_REQUEST, text, 2)
    })
}

fn answered(done: Result<Result<Outcome, AdminError>, JoinError>) -> Answer {
    match done {
        Ok(Ok(outcome)) => json(StatusCode::OK, &outcome),
        Ok(Err(error)) => refusal(&error),
        Err(_) => denial(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the hub; see its log".into(), 4),
    }
}

fn status_of(error: &AdminError) -> StatusCode {
    match error {
        AdminError::Invalid(_) => StatusCode::BAD_REQUEST,
        AdminError::Role { .. } => StatusCode::FORBIDDEN,
        AdminError::Refused(_) | AdminError::KeyKnown => StatusCode::CONFLICT,
        AdminError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn refusal(error: &AdminError) -> Answer {
    denial(status_of(error), error.to_string(), error.exit_status())
}

fn denial(status: StatusCode, error: String, exit_status: u8) -> Answer {
    json(status, &Denial { error, exit_status })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicUsize, Ordering::SeqCst},
            mpsc,
        },
        task::{Context, Waker},
    };

    use super::*;

    /// Whoever asks and hangs up, again and again, has no more done at a time than there are threads in the lane, and the
    /// other lanes' stay free.
    #[test]
    fn who_hangs_up_frees_no_place_before_the_work_is_done() {
        let runtime = crate::runtime(THREADS).unwrap();
        let _entered = runtime.enter();
        let (rooms, begun) = (Rooms::new(), Arc::new(AtomicUsize::new(0)));
        let hang_up = |lane| {
            let (begun, (held, wait)) = (Arc::clone(&begun), mpsc::channel::<()>());
            let work = move || {
                begun.fetch_add(1, SeqCst);
                // Until the other end goes.
                let _ = wait.recv();
            };
            let mut asked = Box::pin(rooms.run(lane, work));
            assert!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            held
        };
        let lanes = [(Lane::Search, SEARCH_THREADS), (Lane::Keys, KEY_THREADS), (Lane::Other, OTHER_THREADS)];
        let held: Vec<_> = lanes.iter().flat_map(|(lane, _)| [(); 50].map(|()| *lane)).map(hang_up).collect();
        let done = runtime.block_on(tokio::time::timeout(LIFETIME, rooms.run(Lane::State, || 7)));
        assert_eq!(done.unwrap().unwrap(), 7, "a revocation is done at once");
        let busy: usize = lanes.iter().map(|(_, threads)| threads).sum();
        assert!(begun.load(SeqCst) <= busy, "{begun:?}");
        let free = lanes.map(|(lane, _)| rooms.of(lane).available_permits());
        assert_eq!((free, rooms.states.available_permits()), ([0; 3], STATE_THREADS));
        drop(held);
        for (lane, _) in lanes {
            runtime.block_on(rooms.run(lane, || ())).unwrap();
        }
        assert_eq!(begun.load(SeqCst), busy, "whoever hung up before there was a thread has asked for nothing");
    }

    /// A panic gives its place back too.
    #[test]
    fn a_request_that_fails_frees_its_place() {
        let runtime = crate::runtime(THREADS).unwrap();
        let rooms = Rooms::new();
        for _ in 0..=STATE_THREADS {
            assert!(runtime.block_on(rooms.run(Lane::State, || panic!("on purpose"))).is_err());
        }
        assert_eq!(rooms.states.available_permits(), STATE_THREADS);
    }

    #[test]
    fn a_socket_that_a_killed_hub_left_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        drop(bind(&path).unwrap());
        assert!(path.exists(), "the file outlives its listener");
        let live = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(StartError::AdminSocketInUse(_))));
        drop(live);
    }

    #[test]
    fn a_file_of_that_name_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path), Err(StartError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
