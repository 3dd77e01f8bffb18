//! One comment, whatever else happens.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    Action, Comment, ForgeError, Kind, Patience, Posted, Run,
    github::GitHub,
    gitlab::{GitLab, without_quick_actions},
    http::{Answer, Client},
    marker::{LONGEST_KEY, Marker, is_same},
    talk::{Say, Talk},
};

/// How often the comments are listed.
const ROUNDS: usize = 16;
/// The most pages of comments.
const PAGES: usize = 1000;

/// A comment of anybody.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub id: u64,
    pub author: Option<Author>,
    pub body: String,
    pub url: Option<String>,
}

/// Who wrote a comment.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub id: u64,
    pub login: String,
}

/// Who the token is.
#[derive(Debug, Clone)]
pub(crate) enum Me {
    Id(u64),
    Login(String),
}

/// What became of a change.
pub(crate) enum Wrote {
    /// The comment as it is now.
    Done(Note),
    /// There is no such comment.
    Gone,
    /// List the comments before the next change.
    ReadAgain {
        /// Whether the change may have taken effect.
        may_be_done: bool,
    },
}

/// The API of a forge.
#[derive(Debug)]
pub(crate) enum Api {
    GitHub(GitHub),
    GitLab(GitLab),
}

impl Me {
    fn wrote(&self, note: &Note) -> bool {
        note.author.as_ref().is_some_and(|author| match self {
            Self::Id(id) => author.id == *id,
            Self::Login(login) => author.login == *login,
        })
    }
}

impl Api {
    pub fn request(&self) -> String {
        match self {
            Self::GitHub(github) => github.request(),
            Self::GitLab(gitlab) => gitlab.request(),
        }
    }

    async fn list(&self, talk: &mut Talk<'_>, keep: &(dyn Fn(&Note) -> bool + Sync)) -> Result<Vec<Note>, ForgeError> {
        match self {
            Self::GitHub(github) => github.list(talk, keep).await,
            Self::GitLab(gitlab) => gitlab.list(talk, keep).await,
        }
    }

    async fn identity(&self, talk: &mut Talk<'_>) -> Result<Option<Me>, ForgeError> {
        match self {
            Self::GitHub(github) => github.identity(talk).await,
            Self::GitLab(gitlab) => gitlab.identity(talk).await,
        }
    }

    async fn create(&self, talk: &mut Talk<'_>, body: &str) -> Result<Wrote, ForgeError> {
        match self {
            Self::GitHub(github) => github.create(talk, body).await,
            Self::GitLab(gitlab) => gitlab.create(talk, body).await,
        }
    }

    async fn update(&self, talk: &mut Talk<'_>, id: u64, body: &str) -> Result<Wrote, ForgeError> {
        match self {
            Self::GitHub(github) => github.update(talk, id, body).await,
            Self::GitLab(gitlab) => gitlab.update(talk, id, body).await,
        }
    }

    async fn delete(&self, talk: &mut Talk<'_>, id: u64) -> Result<bool, ForgeError> {
        match self {
            Self::GitHub(github) => github.delete(talk, id).await,
            Self::GitLab(gitlab) => gitlab.delete(talk, id).await,
        }
    }

    fn url(&self, note: &Note) -> String {
        match self {
            Self::GitHub(_) => note.url.clone().unwrap_or_default(),
            Self::GitLab(gitlab) => gitlab.url(note.id),
        }
    }
}

/// The comments of all pages that are kept.
pub(crate) async fn pages<T: DeserializeOwned + Into<Note>>(
    talk: &mut Talk<'_>,
    first: String,
    keep: &(dyn Fn(&Note) -> bool + Sync),
    refused: &(dyn Fn(&Client, &Answer) -> ForgeError + Sync),
) -> Result<Vec<Note>, ForgeError> {
    let mut notes = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = Some(first);
    while let Some(url) = next {
        if seen.len() >= PAGES || !seen.insert(url.clone()) {
            return Err(talk.client.unexpected("its pages have no end"));
        }
        let answer = talk.repeat(&http::Method::GET, &url, None).await?;
        if !answer.status.is_success() {
            return Err(refused(talk.client, &answer));
        }
        let page: Vec<T> = answer.json(talk.client)?;
        notes.extend(page.into_iter().map(Into::into).filter(|note| keep(note)));
        next = answer.next();
    }
    Ok(notes)
}

pub(crate) fn refused(client: &Client, what: String, status: u16, message: String, help: Option<String>) -> ForgeError {
    ForgeError::Refused { kind: client.kind, what, status, message, help }
}

/// A hidden line with every field at its longest.
pub(crate) fn longest_body(kind: Kind, key: &str) -> usize {
    let run = Some(Run { id: u64::MAX, attempt: u64::MAX });
    let marker = Marker { key: key.to_owned(), run, nonce: Some(nonce()) };
    kind.longest_comment().saturating_sub(marker.body("").chars().count())
}

fn nonce() -> String {
    Uuid::new_v4().simple().to_string()
}

/// A comment of ours, taken apart.
struct Ours {
    note: Note,
    marker: Marker,
    text: String,
}

impl Ours {
    fn of(note: Note) -> Option<Self> {
        let (marker, text) = Marker::split(&note.body)?;
        let text = text.to_owned();
        Some(Self { note, marker, text })
    }
}

/// Whether the first run is earlier than the second. A run without a number is neither earlier nor later.
fn is_earlier(one: Option<Run>, other: Option<Run>) -> bool {
    matches!((one, other), (Some(one), Some(other)) if one < other)
}

/// The state of one [`post`].
struct Work<'a> {
    api: &'a Api,
    marker: Marker,
    text: Cow<'a, str>,
    /// The token's identity, and whether it was asked for.
    me: Option<Me>,
    asked: bool,
    /// The comment of the create without an answer.
    lost: Option<String>,
    /// The comment that this command created. The lists of a forge may show it late.
    made: Option<Note>,
    created: Option<u64>,
    wrote: bool,
    removed: usize,
}

pub(crate) async fn post(
    client: &Client,
    api: &Api,
    patience: Patience,
    comment: &Comment<'_>,
    say: Say<'_>,
) -> Result<Posted, ForgeError> {
    if comment.key.is_empty() || comment.key.len() > LONGEST_KEY {
        return Err(ForgeError::Key { bytes: comment.key.len() });
    }
    let text = match api {
        Api::GitHub(_) => Cow::Borrowed(comment.body),
        Api::GitLab(_) => without_quick_actions(comment.body),
    };
    let marker = Marker { key: comment.key.to_owned(), run: comment.run, nonce: Some(nonce()) };
    let (characters, most) = (marker.body(&text).chars().count(), client.kind.longest_comment());
    if characters > most {
        return Err(ForgeError::TooLong { kind: client.kind, characters, most });
    }
    let mut work = Work {
        api,
        marker,
        text,
        me: None,
        asked: false,
        lost: None,
        made: None,
        created: None,
        wrote: false,
        removed: 0,
    };
    let mut talk = Talk::new(client, patience, say);
    for _ in 0..ROUNDS {
        if let Some(posted) = work.round(&mut talk).await? {
            return Ok(posted);
        }
    }
    Err(ForgeError::Unsettled)
}

impl Work<'_> {
    /// One list and what follows from it. Returns the result once a list needs no change.
    async fn round(&mut self, talk: &mut Talk<'_>) -> Result<Option<Posted>, ForgeError> {
        let ours = self.ours(talk).await?;
        let Some(keep) = ours.first() else {
            self.create(talk).await?;
            return Ok(None);
        };
        // Of several with the same run, the first: all jobs choose the same one.
        let newest = ours.iter().fold(
            keep,
            |newest, each| {
                if is_earlier(newest.marker.run, each.marker.run) { each } else { newest }
            },
        );
        let is_outdated = is_earlier(self.marker.run, newest.marker.run);
        let body = if is_outdated {
            // The job that wrote it may have ended before it moved the text to the comment that stays.
            (newest.note.id != keep.note.id).then(|| newest.note.body.clone())
        } else {
            self.pending(keep, ours.len() > 1).then(|| self.body(false))
        };
        if let Some(body) = body {
            match self.api.update(talk, keep.note.id, &body).await? {
                Wrote::Done(_) => self.wrote = true,
                Wrote::Gone => {
                    self.forget(keep.note.id);
                    return Ok(None);
                }
                Wrote::ReadAgain { .. } => return Ok(None),
            }
            if ours.len() == 1 {
                return Ok(None);
            }
        }
        let others = ours.get(1..).unwrap_or_default();
        for other in others {
            self.removed += usize::from(self.api.delete(talk, other.note.id).await?);
            self.forget(other.note.id);
        }
        if !others.is_empty() {
            return Ok(None);
        }
        let action = match () {
            () if is_outdated => Action::Outdated,
            () if self.created == Some(keep.note.id) => Action::Created,
            () if self.wrote => Action::Updated,
            () => Action::Unchanged,
        };
        Ok(Some(Posted { url: self.api.url(&keep.note), id: keep.note.id, action, removed: self.removed }))
    }

    /// Whether the comment that stays needs this command's text.
    fn pending(&self, keep: &Ours, has_others: bool) -> bool {
        let is_older = is_earlier(keep.marker.run, self.marker.run);
        if is_same(&keep.text, &self.text) {
            // Among several jobs, an earlier run must see that a later one has this text.
            return has_others && is_older;
        }
        // A second write is only for a text that was there before: two jobs of one run do not overwrite each other for ever.
        !self.wrote || is_older
    }

    /// The comments of this key that the token's user wrote, the lowest id first.
    async fn ours(&mut self, talk: &mut Talk<'_>) -> Result<Vec<Ours>, ForgeError> {
        // Nothing is asked between a list and the write that follows from it: what others write meanwhile would be lost.
        if !self.asked {
            self.asked = true;
            self.me = self.api.identity(talk).await?;
        }
        let key = self.marker.key.clone();
        let has_key = move |note: &Note| Marker::split(&note.body).is_some_and(|(marker, _)| marker.key == key);
        let found = self.api.list(talk, &has_key).await?;
        if self.me.is_none()
            && let Some(lost) = &self.lost
        {
            // Nobody else knows the nonce before the comment is there, so the first one with it is this command's.
            let first = found.iter().filter(|note| is_same(&note.body, lost)).min_by_key(|note| note.id);
            self.me = first.and_then(|note| note.author.as_ref()).map(|author| Me::Id(author.id));
        }
        let is_mine = |note: &Note| self.me.as_ref().is_some_and(|me| me.wrote(note));
        let mut mine: Vec<Note> = found.into_iter().filter(is_mine).collect();
        if let Some(made) = &self.made
            && !mine.iter().any(|note| note.id == made.id)
        {
            mine.push(made.clone());
        }
        mine.sort_by_key(|note| note.id);
        mine.dedup_by_key(|note| note.id);
        Ok(mine.into_iter().filter_map(Ours::of).collect())
    }

    async fn create(&mut self, talk: &mut Talk<'_>) -> Result<(), ForgeError> {
        let body = self.body(true);
        match self.api.create(talk, &body).await? {
            Wrote::Done(note) => {
                // The answer says who the token is: only this comment is known to be its own otherwise.
                if let Some(author) = &note.author {
                    self.me = Some(Me::Id(author.id));
                }
                self.created = Some(note.id);
                self.made = Some(Note { body, ..note });
            }
            Wrote::ReadAgain { may_be_done: true } => self.lost = Some(body),
            Wrote::ReadAgain { may_be_done: false } | Wrote::Gone => {}
        }
        Ok(())
    }

    fn body(&self, with_nonce: bool) -> String {
        let nonce = self.marker.nonce.clone().filter(|_| with_nonce);
        Marker { nonce, ..self.marker.clone() }.body(&self.text)
    }

    fn forget(&mut self, id: u64) {
        if self.made.as_ref().is_some_and(|made| made.id == id) {
            self.made = None;
        }
    }
}

impl fmt::Debug for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ours").field("id", &self.note.id).field("marker", &self.marker).finish_non_exhaustive()
    }
}
