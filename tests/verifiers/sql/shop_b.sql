CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT, age INTEGER, height REAL, voice TEXT);
CREATE TABLE concert (id INTEGER PRIMARY KEY, singer_id INTEGER NOT NULL REFERENCES singer(id), year INTEGER NOT NULL, venue TEXT COLLATE NOCASE, tickets INTEGER CHECK (tickets >= 0), price REAL);
CREATE TABLE odd (id INTEGER PRIMARY KEY, big INTEGER, real_big REAL, word TEXT, raw BLOB, spare);
CREATE VIEW grown AS SELECT name, age FROM singer WHERE age >= 30;
CREATE TABLE "order" ("group" TEXT, "select" INTEGER, PRIMARY KEY ("group", "select")) WITHOUT ROWID;
INSERT INTO singer VALUES (11,'Zoe','US',61,1.55,'alto'),(12,'Yan','CN',22,1.80,NULL),(13,'Zoe','FR',22,1.81,'tenor'),(14,'Will','US',45,1.77,'bass'),(15,'Vic','FR',45,1.66,NULL);
INSERT INTO concert VALUES (1,12,2021,'Hall',400,9.0),(2,12,2020,'hall',10,9.0),(3,14,2020,'Barn',55,33.3),(4,15,2019,'Arena',77,21.0),(5,11,2019,'Arena',5,2.5);
INSERT INTO odd VALUES (1,9007199254740993,0.5,'7',x'37',1),(2,7,7.0,'seven',NULL,NULL);
INSERT INTO "order" VALUES ('z',9);
