CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT, age INTEGER, height REAL, voice TEXT);
CREATE TABLE concert (id INTEGER PRIMARY KEY, singer_id INTEGER NOT NULL REFERENCES singer(id), year INTEGER NOT NULL, venue TEXT COLLATE NOCASE, tickets INTEGER CHECK (tickets >= 0), price REAL);
CREATE TABLE odd (id INTEGER PRIMARY KEY, big INTEGER, real_big REAL, word TEXT, raw BLOB, spare);
CREATE VIEW grown AS SELECT name, age FROM singer WHERE age >= 30;
CREATE TABLE "order" ("group" TEXT, "select" INTEGER, PRIMARY KEY ("group", "select")) WITHOUT ROWID;
INSERT INTO singer VALUES (1,'Ana','FR',30,1.70,NULL),(2,'Bob','US',41,1.82,'bass'),(3,'Cem','TR',30,1.75,NULL),(4,'Dee','US',25,1.60,'alto'),(5,'Eva','FR',52,1.68,'alto'),(6,'Bob','UK',33,1.90,NULL),(7,'Gus',NULL,NULL,NULL,'bass');
INSERT INTO concert VALUES (1,1,2019,'Arena',100,10.5),(2,1,2020,'arena',250,20.0),(3,2,2019,'Dome',80,15.25),(4,4,2021,'Hall',0,5.0),(5,5,2021,'Dome',300,40.0),(6,5,2019,'Hall',120,12.0),(7,5,2020,NULL,60,NULL),(8,6,2021,'Arena',90,15.25);
INSERT INTO odd VALUES (1,9007199254740993,9007199254740992.0,'5',x'35',NULL),(2,9007199254740992,0.1,'five',x'00ff',''),(3,5,5.0,'5',NULL,0),(4,-1,0.30000000000000004,'Ünï',x'',1.0);
INSERT INTO "order" VALUES ('x',1),('x',2),('y',1);
